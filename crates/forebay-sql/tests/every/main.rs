//! Tests that run on every database, on real servers: SQLite, Postgres and MariaDB.

mod applying;
mod columns;
mod dead;
mod differential;
mod failures;
mod home;
mod ledger;
mod lost;
mod moves;
mod support;
mod tables;

/// Runs each test on every database.
#[macro_export]
macro_rules! on_every_database {
    ($($(#[$doc:meta])* async fn $name:ident($home:ident) $body:block)*) => {$(
        $(#[$doc])*
        mod $name {
            use super::*;

            async fn case($home: Home) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                case(Home::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if !forebay_testkit::without("postgres") {
                    case(Home::postgres()).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                if !forebay_testkit::without("mariadb") {
                    case(Home::mariadb()).await;
                }
            }
        }
    )*};
}
