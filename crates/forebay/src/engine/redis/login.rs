//! User and password of a host. A password in a file or a variable is read for each connection, so a new one needs no restart.

use std::{env, fmt, fs, path::PathBuf};

use redis::RedisConnectionInfo;

use crate::error::{Result, invalid};

/// How to log in to a host. Without a password there is no login.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub user: Option<Box<str>>,
    pub password: Password,
}

/// Where a password is.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Password {
    #[default]
    None,
    Text(Box<str>),
    /// A file; line breaks at its end are not part of the password.
    File(PathBuf),
    /// An environment variable.
    Variable(Box<str>),
}

impl Login {
    /// The password as it is now.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a file or variable that cannot be read, or is empty.
    pub(super) fn password(&self) -> Result<Option<String>> {
        let (place, read) = match &self.password {
            Password::None => return Ok(None),
            Password::Text(text) => return Ok(Some(text.as_ref().to_owned())),
            Password::File(path) => {
                let text = fs::read_to_string(path).map_err(|cause| cause.to_string());
                (format!("password file {}", path.display()), text)
            }
            Password::Variable(name) => {
                let text = env::var(name.as_ref()).map_err(|cause| cause.to_string());
                (format!("environment variable {name} with the password"), text)
            }
        };
        let text = read.map_err(|cause| invalid(format!("store URL: {place}: {cause}")))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(invalid(format!("store URL: {place}: it is empty")));
        }
        Ok(Some(text.to_owned()))
    }

    /// Whether the password is in a place that others write.
    pub(super) fn may_change(&self) -> bool {
        matches!(self.password, Password::File(_) | Password::Variable(_))
    }

    /// The settings of a connection with the password as it is now.
    pub(super) fn settings(&self) -> Result<RedisConnectionInfo> {
        // Telling the client's name takes a right of its own, which servers before 7.2 do not know.
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = self.password()? {
            settings = settings.set_password(password);
        }
        Ok(settings)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A user's name may be a password that was written in the wrong place.
        f.write_str("Login")
    }
}
