//! Compares a crate with its rules.

use std::{collections::BTreeSet, error::Error, path::Path};

use crate::{
    arrows::Arrows,
    rules::{IMPURE, Layer, Rules},
    source::Source,
};

/// All places where the crate in `workspace`/[`Rules::folder`] breaks one of `rules`: the files, and a line of code for each
/// arrow.
///
/// # Errors
/// A file that is missing or does not parse.
pub fn check(workspace: &Path, rules: &Rules) -> Result<Vec<String>, Box<dyn Error>> {
    let source = Source::read(&workspace.join(rules.folder).join("src"))
        .map_err(|error| format!("{}: {error}", rules.folder))?;
    let arrows = Arrows::of(&source);
    let crate_ = Crate { rules, source: &source, arrows: &arrows };
    Ok([crate_.circles(), crate_.layers(), crate_.pure(), crate_.unused_parts()].concat())
}

struct Crate<'a> {
    rules: &'a Rules,
    source: &'a Source,
    arrows: &'a Arrows,
}

impl Crate<'_> {
    /// One text for each set of files that all reach each other.
    fn circles(&self) -> Vec<String> {
        let reached: Vec<BTreeSet<usize>> =
            (0..self.source.files.len()).map(|file| self.reach(file)).collect();
        let mut done = BTreeSet::new();
        let mut found = Vec::new();
        for file in 0..reached.len() {
            if !reached[file].contains(&file) || done.contains(&file) {
                continue;
            }
            let circle: BTreeSet<usize> =
                reached[file].iter().copied().filter(|&other| reached[other].contains(&file)).collect();
            let mut text = format!("a circle of {} files in {}:", circle.len(), self.rules.folder);
            for &(from, to) in self.arrows.between.keys() {
                if circle.contains(&from) && circle.contains(&to) {
                    text.extend(["\n    ", &self.arrow(from, to)]);
                }
            }
            done.extend(circle);
            found.push(text);
        }
        found
    }

    /// The files to which arrows lead from `file`, over others too.
    fn reach(&self, file: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = vec![file];
        while let Some(from) = open.pop() {
            let next = self.arrows.between.range((from, 0)..(from + 1, 0)).map(|(&(_, to), _)| to);
            open.extend(next.filter(|&to| reached.insert(to)));
        }
        reached
    }

    fn layers(&self) -> Vec<String> {
        if self.rules.layers.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<String> = (0..self.source.files.len())
            .filter(|&file| self.layer(file).is_none())
            .map(|file| format!("{} is in no layer", self.path(file)))
            .collect();
        for &(from, to) in self.arrows.between.keys() {
            let (Some((height, part)), Some((other, other_part))) = (self.layer(from), self.layer(to)) else {
                continue;
            };
            if other > height {
                found.push(format!("up: {} from `{part}` to `{other_part}`", self.arrow(from, to)));
            } else if other == height
                && part != other_part
                && matches!(self.rules.layers[height], Layer::Apart(_))
            {
                found.push(format!("across: {} from `{part}` to `{other_part}`", self.arrow(from, to)));
            }
        }
        found
    }

    /// The height of a file's layer, and the part that it belongs to.
    fn layer(&self, file: usize) -> Option<(usize, &'static str)> {
        let layers = self.rules.layers.iter().enumerate();
        let parts = layers.flat_map(|(height, layer)| layer.parts().iter().map(move |part| (height, *part)));
        parts.filter(|(_, part)| self.is_in(file, part)).max_by_key(|(_, part)| part.len())
    }

    fn pure(&self) -> Vec<String> {
        let is_pure = |file| self.rules.pure.iter().any(|part| self.is_in(file, part));
        let arrows = self.arrows.between.keys().filter(|(from, to)| is_pure(*from) && !is_pure(*to));
        let mut found: Vec<_> =
            arrows.map(|(from, to)| format!("not pure: {}", self.arrow(*from, *to))).collect();
        for (file, line, path) in &self.arrows.outside {
            let name = IMPURE.iter().find(|name| path.strip_prefix(**name).is_some_and(ends_segment));
            if let Some(name) = name
                && is_pure(*file)
            {
                found.push(format!("not pure: {}:{line} uses {name}", self.path(*file)));
            }
        }
        found
    }

    /// Parts in the table that are no file, so that a file that moves takes its rule along.
    fn unused_parts(&self) -> Vec<String> {
        let parts = self.rules.layers.iter().flat_map(Layer::parts).chain(self.rules.pure);
        parts
            .filter(|part| !(0..self.source.files.len()).any(|file| self.is_in(file, part)))
            .map(|part| format!("rules.rs names `{part}`, which is not in {}/src", self.rules.folder))
            .collect()
    }

    fn is_in(&self, file: usize, part: &str) -> bool {
        self.source.files[file].strip_prefix(part).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    fn path(&self, file: usize) -> String {
        format!("{}/src/{}", self.rules.folder, self.source.files[file])
    }

    /// For example `crates/a/src/b.rs:12 -> c.rs (Name, name)`.
    fn arrow(&self, from: usize, to: usize) -> String {
        let names = &self.arrows.between[&(from, to)];
        let line = names.values().min().copied().unwrap_or_default();
        let listed: Vec<&str> = names.keys().map(String::as_str).collect();
        format!("{}:{line} -> {} ({})", self.path(from), self.source.files[to], listed.join(", "))
    }
}

impl Layer {
    fn parts(&self) -> &'static [&'static str] {
        match self {
            Self::Together(parts) | Self::Apart(parts) => parts,
        }
    }
}

fn ends_segment(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with("::")
}
