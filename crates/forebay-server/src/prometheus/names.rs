//! The metrics of series, and their names.

use std::collections::{BTreeMap, btree_map::Entry};

use forebay::Name;

use crate::promql::{Matcher, NAME};

/// A view of the counts of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// The count of each bucket: a gauge.
    Increments,
    /// The sum of all buckets so far: a counter.
    Total,
}

/// A metric: a view of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    /// The declared series.
    pub(crate) series: Name,
    /// Whether it is of what limits denied.
    pub(crate) is_limited: bool,
    pub(crate) form: Form,
}

/// The metrics of all declared series, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    metrics: BTreeMap<String, Metric>,
    /// Names that two metrics would have, and their series.
    ambiguous: BTreeMap<String, Vec<String>>,
}

impl Catalogue {
    /// The metrics of series: `x` and `x_total`, and of what limits denied `x_limited` and `x_limited_total`.
    ///
    /// A `-` in the name of a series is a `_` in that of a metric.
    pub(crate) fn new<'a>(series: impl IntoIterator<Item = &'a Name>) -> Self {
        let mut catalogue = Self::default();
        for series in series {
            for (is_limited, form) in [
                (false, Form::Increments),
                (false, Form::Total),
                (true, Form::Increments),
                (true, Form::Total),
            ] {
                let limited = if is_limited { "_limited" } else { "" };
                let total = if form == Form::Total { "_total" } else { "" };
                let name = format!("{}{limited}{total}", series.as_str().replace('-', "_"));
                catalogue.add(Metric { name, series: series.clone(), is_limited, form });
            }
        }
        for name in catalogue.ambiguous.keys() {
            catalogue.metrics.remove(name);
        }
        catalogue
    }

    fn add(&mut self, metric: Metric) {
        match self.metrics.entry(metric.name.clone()) {
            Entry::Vacant(free) => drop(free.insert(metric)),
            Entry::Occupied(taken) => {
                let first = || vec![taken.get().source()];
                self.ambiguous.entry(metric.name.clone()).or_insert_with(first).push(metric.source());
            }
        }
    }

    /// All metrics, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.values()
    }

    /// The metrics whose names fit the conditions of a selector.
    ///
    /// # Errors
    /// The explanation, if a condition is on a name that two metrics would have.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<Vec<&Metric>, String> {
        let fits = |name: &str| {
            matchers.iter().filter(|matcher| matcher.name == NAME).all(|matcher| matcher.is_match(name))
        };
        let of_name = matchers.iter().find_map(|matcher| self.ambiguous.get_key_value(&matcher.value));
        match of_name.filter(|(name, _)| fits(name)) {
            Some((name, sources)) => Err(ambiguous(name, sources)),
            None => Ok(self.metrics.values().filter(|metric| fits(&metric.name)).collect()),
        }
    }

    /// The metrics that lists leave out, because two would have the same name.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.ambiguous.iter().map(|(name, sources)| ambiguous(name, sources))
    }
}

impl Metric {
    /// Its description, for people.
    pub(crate) fn help(&self) -> String {
        let Self { series, is_limited, form, .. } = self;
        let what = if *is_limited { "denied counts of the series" } else { "counts of the series" };
        match form {
            Form::Increments => format!("The {what} {series}, by bucket."),
            Form::Total => format!("The {what} {series}, added up."),
        }
    }

    /// The series as it is named in requests.
    fn source(&self) -> String {
        let limited = if self.is_limited { ".limited" } else { "" };
        let form = if self.form == Form::Total { " added up" } else { "" };
        format!("{}{limited}{form}", self.series)
    }
}

fn ambiguous(name: &str, sources: &[String]) -> String {
    format!("{name} would be the metric of {}: rename one of the series", sources.join(" and of "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse_selector;

    fn catalogue(names: &[&str]) -> Catalogue {
        let names: Vec<Name> = names.iter().map(|name| Name::new(name).expect("a name")).collect();
        Catalogue::new(&names)
    }

    fn names(catalogue: &Catalogue, selector: &str) -> Result<Vec<String>, String> {
        let matchers = parse_selector(selector).expect("a selector");
        Ok(catalogue.select(&matchers)?.iter().map(|metric| metric.name.clone()).collect())
    }

    #[test]
    fn a_series_has_four_metrics() {
        let all = catalogue(&["page-hits"]);
        let found: Vec<&str> = all.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(found, ["page_hits", "page_hits_limited", "page_hits_limited_total", "page_hits_total"]);
        assert_eq!(names(&all, "page_hits_total"), Ok(vec!["page_hits_total".to_owned()]));
        assert_eq!(names(&all, "{__name__=~\".*_limited.*\"}").map(|names| names.len()), Ok(2));
        assert_eq!(names(&all, "{key=\"a\"}").map(|names| names.len()), Ok(4));
        assert_eq!(names(&all, "other"), Ok(vec![]));
    }

    #[test]
    fn a_name_of_two_metrics_is_refused_and_left_out_of_lists() {
        let all = catalogue(&["a-b", "a_b", "hits", "hits_total"]);
        assert!(all.iter().all(|metric| !metric.name.starts_with("a_b") && metric.name != "hits_total"));
        let told =
            "hits_total would be the metric of hits added up and of hits_total: rename one of the series";
        assert_eq!(names(&all, "hits_total"), Err(told.to_owned()));
        assert!(names(&all, "a_b_limited{key=\"x\"}").is_err());
        assert_eq!(names(&all, "hits"), Ok(vec!["hits".to_owned()]));
        assert_eq!(names(&all, "hits{key=\"a_b\"}"), Ok(vec!["hits".to_owned()]), "a key of that name");
        assert_eq!(all.warnings().count(), 5);
    }
}
