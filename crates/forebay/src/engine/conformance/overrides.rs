//! Overrides of single keys.

use uuid::Uuid;

use super::fresh;
use crate::{bay::Forebay, key::Name};

async fn all(bay: &Forebay, limit: &Name) -> Vec<(String, String)> {
    let all = bay.engine().overrides(limit).await.unwrap().into_iter();
    let mut all: Vec<_> = all.map(|(key, instead)| (key.into(), instead.into())).collect();
    all.sort();
    all
}

async fn mark(bay: &Forebay, limit: &Name) -> Option<Uuid> {
    let marks = bay.engine().override_marks().await.unwrap();
    marks.into_iter().find(|(name, _)| name == limit).map(|(_, mark)| mark)
}

pub(super) async fn an_override_stays_until_it_is_removed_and_each_change_has_a_mark(bay: Forebay) {
    let (limit, other) = (fresh("overridden"), fresh("overridden"));
    let engine = bay.engine();
    let set = async |key, instead| {
        let mark = Uuid::new_v4();
        (engine.override_set(&limit, key, instead, mark).await.unwrap(), mark)
    };
    assert_eq!(mark(&bay, &limit).await, None);
    for (key, instead) in [("a:{é}\n", "100/1m"), ("b", "blocked"), ("b", "unlimited")] {
        let (changed, drawn) = set(key, Some(instead)).await;
        assert_eq!((changed, mark(&bay, &limit).await), (true, Some(drawn)));
    }
    let pair = |key: &str, instead: &str| (key.to_owned(), instead.to_owned());
    assert_eq!(all(&bay, &limit).await, [pair("a:{é}\n", "100/1m"), pair("b", "unlimited")]);
    let (removed, drawn) = set("a:{é}\n", None).await;
    assert_eq!((removed, set("a:{é}\n", None).await.0), (true, false));
    assert_eq!(
        (all(&bay, &limit).await, mark(&bay, &limit).await),
        (vec![pair("b", "unlimited")], Some(drawn))
    );
    assert_eq!((all(&bay, &other).await, mark(&bay, &other).await), (vec![], None));
}
