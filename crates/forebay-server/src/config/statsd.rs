//! Reading `[statsd]`.

use std::net::SocketAddr;

use forebay::Name;

use super::{
    fields::{Fields, Node},
    network::{Network, read_address},
    section::Declared,
    series::Declaration,
};
use crate::text::{Pattern, Template};

/// The listener for statsd.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsdConfig {
    /// The address of the UDP socket.
    pub listen: SocketAddr,
    /// Datagrams from other addresses are refused.
    pub allow: Vec<Network>,
    /// The metrics that are counted, in the order in which they are tried.
    pub metrics: Vec<StatsdMetric>,
}

/// A pattern of names, and the series that counts them.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsdMetric {
    /// The names.
    pub pattern: Pattern,
    /// The series.
    pub series: Name,
    /// The keys that it counts for.
    pub subject: Subject,
}

/// The keys that a metric counts for.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A key.
    Key(Template),
    /// The values of all labels of the series, in their order.
    Labels(Vec<(String, Template)>),
}

/// Reads the section. Without `insecure`, it listens only where no other machine reaches it.
pub(super) fn read_statsd(
    top: &mut Fields<'_>,
    series: &Declared<Declaration>,
    insecure: bool,
) -> Option<StatsdConfig> {
    let mut fields = top.optional("statsd")?.fields()?;
    let listen =
        fields.required("listen", "\"127.0.0.1:8125\"").and_then(|node| read_listen(&node, insecure));
    let default = |listen: Option<SocketAddr>| match listen {
        Some(listen) if listen.ip().is_loopback() => &Network::LOOPBACK[..],
        _ => &["0.0.0.0/0", "::/0"],
    };
    let allow = match fields.optional("allow") {
        Some(list) => list.list().iter().map(Node::parse).collect(),
        None => default(listen).iter().map(|text| text.parse().ok()).collect(),
    };
    let metrics = fields.required("metrics", "[{ pattern = \"hits.*\", series = \"hits\" }]");
    let nodes = metrics.iter().flat_map(Node::list);
    let metrics: Vec<Option<StatsdMetric>> = nodes.map(|node| read_metric(&node, series)).collect();
    if metrics.is_empty() {
        fields.node.mistake("metrics is empty: names are counted only by a pattern");
    }
    fields.finish();
    let (allow, metrics): (Option<Vec<_>>, Option<Vec<_>>) = (allow, metrics.into_iter().collect());
    Some(StatsdConfig { listen: listen?, allow: allow?, metrics: metrics? })
}

fn read_listen(node: &Node<'_>, insecure: bool) -> Option<SocketAddr> {
    let listen = node.accept(read_address(&node.text()?, 8125))?;
    if !listen.ip().is_loopback() && !insecure {
        node.mistake(format!(
            "{listen} can be reached from other machines, and datagrams have no token: listen on 127.0.0.1 or [::1], or \
             pass --insecure"
        ));
    }
    Some(listen)
}

fn read_metric(node: &Node<'_>, declared: &Declared<Declaration>) -> Option<StatsdMetric> {
    let mut fields = node.fields()?;
    let pattern = fields.required("pattern", "\"api.*.requests\"").and_then(|node| node.parse::<Pattern>());
    let series = fields.required("series", "\"hits\"").and_then(|node| {
        let series = declared.iter().map(|(name, series)| (name.as_str(), (name, series)));
        node.declared("series", series)
    });
    let (key, labels) = (fields.optional("key"), fields.optional("labels"));
    fields.finish();
    let (pattern, (name, series)) = (pattern?, series?);
    let names = series.as_ref()?.label_names();
    let template = |node: &Node<'_>| {
        let template = node.parse::<Template>()?;
        let (last, most) = (template.last_wildcard(), pattern.wildcards());
        if last > most {
            node.mistake(format!("${last}: the pattern {pattern} has {most} wildcards"));
        }
        Some(template)
    };
    let subject = match (key, labels) {
        (Some(node), _) if !names.is_empty() => {
            node.mistake(format!("series {name} has labels: write labels = {{ {} = \"$1\" }}", names[0]));
            return None;
        }
        (_, Some(node)) if names.is_empty() => {
            node.mistake(format!("series {name} has no labels: write key = \"$1\""));
            return None;
        }
        (Some(node), _) => Subject::Key(template(&node)?),
        (None, _) if names.is_empty() => Subject::Key(Template::name()),
        (None, labels) => {
            let given: Vec<(&str, Node<'_>)> = labels.iter().flat_map(Node::entries).collect();
            for (label, node) in &given {
                if !names.iter().any(|name| name == label) {
                    node.mistake(format!("the labels of series {name} are: {}", names.join(", ")));
                }
            }
            let of = |label: &String| {
                let node = given.iter().find(|(name, _)| name == label).map(|(_, node)| node);
                // A label that is not named is the tag of its name.
                let template = node.map_or_else(|| Some(Template::tag(label)), template)?;
                Some((label.clone(), template))
            };
            Subject::Labels(names.iter().map(of).collect::<Option<_>>()?)
        }
    };
    Some(StatsdMetric { pattern, series: name.clone(), subject })
}
