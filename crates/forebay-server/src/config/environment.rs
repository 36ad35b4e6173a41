//! Environment variables.

/// Looks up an environment variable. A function, so that tests can have an environment of their own.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Looks up a variable of this process. One that is not UTF-8 counts as not set, because no field accepts it.
pub fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
