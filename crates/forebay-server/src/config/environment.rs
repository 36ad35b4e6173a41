//! Environment variables.

/// Looks up an environment variable. A function, so that tests can have an environment of their own.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Looks up a variable of this process. One that is not UTF-8 counts as not set, because no field accepts it.
pub fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Treats an empty variable as not set, as compose files and unit files write it.
pub(super) fn non_empty(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}
