//! Reading `[cluster]`: several hosts by name.

use forebay::cluster::{Hosts, RouterKind};

use super::{
    fields::{Fields, Node},
    model::Store,
    secret::Url,
};

/// The URL schemes of hosts.
const HOSTS: [&str; 5] = ["redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel"];

/// The hosts, if the section is there.
pub(super) fn read_cluster(top: &mut Fields<'_>) -> Option<Store> {
    let section = top.optional("cluster")?;
    let mut fields = section.fields()?;
    let routers = RouterKind::ALL.map(|kind| (kind.as_str(), kind));
    let router = fields.read("router", |node| node.choice("router", &routers));
    let hosts = fields.required("hosts", "{ a = \"redis://127.0.0.1/0\" }");
    let read = |(name, node): (&str, Node<'_>)| Some((name.to_owned(), read_host(&node)?));
    fields.finish();
    let hosts: Vec<Option<(String, (String, u32))>> = hosts?.entries().into_iter().map(read).collect();
    // With a mistake in a host, the cluster is not checked.
    let hosts = hosts.into_iter().collect::<Option<Vec<_>>>()?;
    let names = hosts.iter().map(|(name, _)| name.clone()).collect();
    let cluster = router.into_iter().fold(Hosts::new(), Hosts::router);
    let cluster =
        hosts.into_iter().fold(cluster, |cluster, (name, (url, weight))| cluster.weighted(name, url, weight));
    section.accept(cluster.check());
    Some(Store::Hosts(cluster, names))
}

/// `"redis://127.0.0.1/0"`, or `{ url = "redis://127.0.0.1/1", weight = 2 }`.
fn read_host(node: &Node<'_>) -> Option<(String, u32)> {
    let url = |node: &Node<'_>| node.accept(Url::parse("host", &node.text()?, &HOSTS));
    if node.is_text() {
        return Some((url(node)?.reveal().to_owned(), 1));
    }
    let mut fields = node.fields()?;
    let address = fields.required("url", "\"redis://127.0.0.1/0\"").and_then(|node| url(&node));
    let weight = fields.optional("weight").map_or(Some(1), |node| node.number(1..=1_000));
    fields.finish();
    let weight = u32::try_from(weight?).expect("at most 1000");
    Some((address?.reveal().to_owned(), weight))
}
