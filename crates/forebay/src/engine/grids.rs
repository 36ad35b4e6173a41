//! The series that this process has defined.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::step::SeriesPart;
use crate::{key::Name, model::resolution::Grid};

/// The series of this process. The lock protects the map, for one look-up or note at a time.
#[derive(Debug, Default)]
pub(crate) struct Grids(Mutex<HashMap<Name, Arc<Grid>>>);

impl Grids {
    /// Notes the definition of a series.
    pub(crate) fn define(&self, grid: &Arc<Grid>) {
        self.0.lock().insert(grid.name.clone(), grid.clone());
    }

    /// The definition of a series.
    pub(crate) fn find(&self, name: &Name) -> Option<Arc<Grid>> {
        self.0.lock().get(name).cloned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// All partitions.
    pub(crate) fn parts(&self) -> Vec<SeriesPart> {
        let grids = self.0.lock();
        let parts = |grid: &Arc<Grid>| {
            let grid = grid.clone();
            (0..grid.partitions).map(move |index| SeriesPart::new(grid.clone(), index))
        };
        grids.values().flat_map(parts).collect()
    }
}
