//! Stores that two processes could share, and what a sink has.

use forebay::{
    Forebay,
    buffer::{BufferHandle, Value},
    sink::MemorySink,
};
use forebay_testkit::{Redis, unique_prefix, without};

/// Two handles on one store, as two processes have them: in memory, on one Redis, and on three.
pub(crate) async fn shared_stores() -> Vec<[Forebay; 2]> {
    let memory = Forebay::open("memory:").await.expect("opens");
    let mut stores = vec![[memory.clone(), memory]];
    if !without("redis") {
        let server = Redis::shared();
        let port = server.port();
        let three = format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2,127.0.0.1:{port}/3");
        for url in [server.url(), three] {
            let prefix = unique_prefix();
            let open = async || Forebay::options().prefix(&prefix).open(&url).await.expect("opens");
            stores.push([open().await, open().await]);
        }
    }
    stores
}

/// The sum of a buffer's first column over all rows of a sink.
pub(crate) fn total(buffer: &BufferHandle, sink: &MemorySink) -> i64 {
    let number = |cell: &Option<Value>| if let Some(Value::Integer(n)) = cell { *n } else { 0 };
    sink.rows(buffer.schema()).iter().map(|row| number(&row.cells[0])).sum()
}
