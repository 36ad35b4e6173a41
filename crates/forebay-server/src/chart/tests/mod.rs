//! Pictures are read as a viewer reads them, and their places are turned back into values.

mod picture;
mod pictures;
mod terminals;
mod weeks;
