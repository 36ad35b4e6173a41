//! Reading `[limits]`.

use forebay::{
    Limit, Name,
    limit::{Kind, MAX_LEASES, Mode, OnError, Override},
    time::secs,
};

use super::{
    fields::{Fields, Node},
    section::{Declared, section},
};
use crate::text::{Allowance, Rate, Span, Window, moment::zone};

const MODES: [(&str, Mode); 2] = [("exact", Mode::Exact), ("leased", Mode::Leased)];

const ON_ERRORS: [(&str, OnError); 3] =
    [("open", OnError::Open), ("closed", OnError::Closed), ("local", OnError::Local)];

pub(super) fn read_limits(top: &mut Fields<'_>) -> Declared<Limit> {
    section(top, "limits", |name, node| {
        let mut fields = node.fields()?;
        let kinds = Kind::ALL.map(|kind| (kind.as_str(), kind));
        let kind = fields.read("kind", |node| node.choice("kind", &kinds));
        let limit = if kind == Some(Kind::Concurrency) {
            read_concurrency(name, &mut fields)
        } else {
            read_rate(name, kind, &mut fields)
        };
        let burst = fields.read("burst", |node| node.number(1..=1 << 50));
        let phase = fields.read("phase", read_phase);
        // A name that does not exist is reported at its own line, and a zone that the kind does not have with the limit.
        let zone = fields.read("zone", |node| node.text().filter(|name| node.accept(zone(name)).is_some()));
        let mode = fields.read("mode", |node| node.choice("mode", &MODES));
        let shadow = fields.read("shadow", Node::flag).filter(|shadow| *shadow);
        let overrides = fields.optional("overrides").map(|node| read_overrides(&node)).unwrap_or_default();
        let on_error = fields.read("on_error", |node| node.choice("on_error", &ON_ERRORS));
        let deadline = fields.read("deadline", Node::parse::<Span>);
        // Unread fields are reported also if a field is missing, because it may be misspelt.
        fields.finish();
        let mut limit = burst.into_iter().fold(limit?, Limit::burst);
        limit = phase.into_iter().fold(limit, |limit, phase| match phase {
            Phase::All(Span(phase)) => limit.phase(phase),
            Phase::ByKey => limit.phase_by_key(),
        });
        limit = zone.into_iter().fold(limit, Limit::zone);
        limit = mode.into_iter().fold(limit, Limit::mode);
        limit = shadow.into_iter().fold(limit, |limit, _| limit.shadow());
        limit = on_error.into_iter().fold(limit, Limit::on_error);
        limit = deadline.into_iter().fold(limit, |limit, Span(deadline)| limit.deadline(deadline));
        if node.accept(limit.check()).is_some() {
            // The overrides are added one by one, so that each mistake has its line.
            for (node, key, allowance) in &overrides {
                node.accept(limit.clone().allow(key, *allowance).check());
            }
        }
        Some(overrides.into_iter().fold(limit, |limit, (_, key, allowance)| limit.allow(key, allowance)))
    })
}

/// The begin of the windows.
enum Phase {
    All(Span),
    ByKey,
}

fn read_phase(node: &Node<'_>) -> Option<Phase> {
    match &*node.text()? {
        "by-key" => Some(Phase::ByKey),
        text => node.accept(text.parse().map(Phase::All)),
    }
}

/// `{ "42" = "100/1m", "43" = "unlimited" }`; for a concurrency limit `{ "42" = 20 }`.
fn read_overrides<'a>(node: &Node<'a>) -> Vec<(Node<'a>, String, Override)> {
    let read = |(key, node): (&str, Node<'a>)| {
        let allowance = if node.is_integer() {
            Override::leases(node.number(1..=MAX_LEASES)?)
        } else {
            node.parse::<Allowance>()?.0
        };
        Some((node, key.to_owned(), allowance))
    };
    node.entries().into_iter().filter_map(read).collect()
}

fn read_rate(name: &Name, kind: Option<Kind>, fields: &mut Fields<'_>) -> Option<Limit> {
    let rate = fields.required("rate", "\"20/1m\"").and_then(|node| match &*node.text()? {
        "unlimited" => Some(Limit::new(name.as_str(), 1, secs(1)).unlimited()),
        "blocked" => Some(Limit::new(name.as_str(), 1, secs(1)).blocked()),
        text => node.accept(text.parse::<Rate>()).map(|Rate { quota, window, .. }| match window {
            Window::Span(span) => Limit::new(name.as_str(), quota.get(), span),
            Window::Calendar(unit) => Limit::calendar(name.as_str(), quota.get(), unit),
        }),
    });
    for field in ["max", "ttl"] {
        if let Some(node) = fields.optional(field) {
            node.mistake("only a limit with kind = \"concurrency\" has one");
        }
    }
    Some(kind.into_iter().fold(rate?, Limit::kind))
}

fn read_concurrency(name: &Name, fields: &mut Fields<'_>) -> Option<Limit> {
    let most = fields.required("max", "10").and_then(|node| node.number(1..=MAX_LEASES));
    let ttl = fields.optional("ttl").map(|node| node.parse::<Span>());
    if let Some(node) = fields.optional("rate") {
        node.mistake("a limit with kind = \"concurrency\" has none, but max and ttl");
    }
    let Span(ttl) = ttl.unwrap_or(Some(Span(secs(30))))?;
    Some(Limit::concurrency(name.as_str(), most?, ttl))
}
