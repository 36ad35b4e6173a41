//! Series as metrics of Prometheus: their names, labels and samples.
//!
//! ```text
//! names.rs    which metrics a series has        labels.rs    which labels a key has
//! samples.rs  buckets to samples                read.rs      the samples that a query needs, from the store
//! ```

mod labels;
mod list;
mod names;
mod read;
mod samples;

pub(crate) use labels::{labels_of, names as label_names};
pub(crate) use list::{ListError, Lister};
pub(crate) use names::{Catalogue, Form, Metric};
pub(crate) use read::{ReadError, Reading, read};
