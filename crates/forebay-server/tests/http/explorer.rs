//! The series explorer of the dashboard, in a browser.

use fantoccini::{
    Locator,
    actions::{InputSource, MouseActions, PointerAction},
    key::Key,
};
use forebay_testkit::without;
use serde_json::{Value, json};

use crate::{dashboard::Page, support::Server};

const MARKUP: &str = "<img src=x onerror=\"document.title='taken for markup'\">";

/// A series with a day of counts: 24 hours of `shop`, the half of them of `blog`, and two keys with odd names.
fn server() -> Server {
    let server = Server::with(|config| config + "\n[series.visits]\nresolutions = [\"15m/30y\"]\n");
    let hour = |key: &str, hour: u32, n: u32| {
        json!({"key": key, "n": n, "at": format!("2026-01-05T{hour:02}:05:00Z")}).to_string()
    };
    let shop = (0..24).map(|at| hour("shop", at, 100 + 10 * at));
    let lines = shop.chain((0..12).map(|at| hour("blog", at, 40)));
    let lines = lines.chain([hour(MARKUP, 3, 7), hour("مرحبا ١٢", 3, 5), hour("shopping", 3, 1)]);
    let body = format!("[{}]", lines.collect::<Vec<_>>().join(","));
    server.client().post("/v1/series/visits", body).expect(202);
    server
}

/// The address of the explorer with this state.
fn address(server: &Server, state: &str) -> String {
    format!("http://{}/#series=visits&{state}", server.address())
}

const DAY: &str = "from=2026-01-05T00%3A00%3A00Z&to=2026-01-06T00%3A00%3A00Z&step=1h";
const DRAWN: &str = "document.querySelectorAll('#explorer-chart .columns rect').length === 24";

impl Page {
    /// Opens the explorer with a state.
    async fn explore(server: &Server, state: &str) -> Self {
        let page = Self::open(server).await;
        // Only what follows the # changes, so that the page is loaded once more by itself.
        page.browser.goto(&address(server, state)).await.expect("a page");
        page.browser.refresh().await.expect("a page");
        page
    }

    /// Shows the page at this width, light or dark.
    async fn look(&self, width: u32, height: u32, scheme: &str) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        for (order, params) in [
            ("Emulation.setDeviceMetricsOverride", metrics),
            (
                "Emulation.setEmulatedMedia",
                json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
            ),
        ] {
            self.order("goog/cdp/execute", &json!({"cmd": order, "params": params})).await;
        }
    }

    async fn press(&self, keys: &[Key]) {
        let text: String = keys.iter().copied().map(char::from).collect();
        self.browser
            .find(Locator::Css("#explorer-chart"))
            .await
            .expect("a chart")
            .send_keys(&text)
            .await
            .expect("keys");
    }

    /// The middle of a column of the chart, in the window.
    async fn middle(&self, column: u32) -> (f64, f64) {
        let script = format!(
            "(([{{x, width}}, {{y, height}}]) => [x + width / 2, y + height / 2].map(Math.round))(
                [document.querySelectorAll('#explorer-chart .columns rect')[{column}], document.getElementById('explorer-chart')]
                    .map((element) => element.getBoundingClientRect()))"
        );
        let place = self.value(&script).await;
        (place[0].as_f64().expect("a number"), place[1].as_f64().expect("a number"))
    }

    async fn readout(&self) -> String {
        let text = self.value("document.getElementById('explorer-readout').innerText").await;
        text.as_str().expect("a text").to_owned()
    }
}

#[tokio::test]
async fn keys_are_completed_and_come_into_one_chart_whose_state_is_in_the_address() {
    if without("chromium") {
        return;
    }
    let server = server();
    let page = Page::explore(&server, DAY).await;
    page.shows("status-live", "live").await;
    let field = page.browser.find(Locator::Css("#key")).await.expect("a field");
    field.send_keys("sho").await.expect("typing");
    page.until("[...document.querySelectorAll('#key-options option')].map(({value}) => value).join() === 'shop,shopping'")
        .await;
    field.send_keys("p\n").await.expect("typing");
    page.until(DRAWN).await;
    page.shows("explorer-sum", "5,160").await;
    page.type_into("#key", "blog").await;
    page.until("document.querySelector('#explorer-chart svg').dataset.kind === 'stacked'").await;
    page.shows("explorer-sum", "5,640").await;
    page.until(
        "[...document.querySelectorAll('#keys bdi')].map((key) => key.textContent).join() === 'shop,blog'",
    )
    .await;
    for (id, choice, shown) in [
        ("kind", "line", "document.querySelectorAll('#explorer-chart .row path').length === 2"),
        ("kind", "bars", "document.querySelector('#explorer-chart svg').dataset.kind === 'bars'"),
    ] {
        let select = page.browser.find(Locator::Id(id)).await.expect("a field");
        select.select_by_value(choice).await.expect("a choice");
        page.until(shown).await;
    }
    page.browser.find(Locator::Id("previous")).await.expect("a field").click().await.expect("a click");
    page.until("document.querySelectorAll('#explorer-chart .over[data-role=previous]').length === 2").await;

    let told = json!(
        "series=visits&key=shop&key=blog&from=2026-01-05T00%3A00%3A00Z&to=2026-01-06T00%3A00%3A00Z&step=1h&kind=bars&previous=span"
    );
    assert_eq!(page.value("location.hash.slice(1)").await, told);
    page.browser.refresh().await.expect("a page");
    page.until("document.querySelectorAll('#explorer-chart .over').length === 2").await;
    assert_eq!(page.value("document.getElementById('kind').value").await, json!("bars"));
    page.browser.back().await.expect("a page");
    page.until("document.querySelectorAll('#explorer-chart .over').length === 0").await;
    assert_eq!(page.value("document.getElementById('previous').checked").await, json!(false));
    page.browser
        .find(Locator::Css("#keys li:first-child button"))
        .await
        .expect("a button")
        .click()
        .await
        .expect("a click");
    page.shows("explorer-sum", "480").await;
    assert_eq!(page.complaints().await, json!([]));
    page.close().await;
}

#[tokio::test]
async fn values_are_read_by_keyboard_and_by_pointer_and_a_drag_zooms_in() {
    if without("chromium") {
        return;
    }
    let server = server();
    let page = Page::explore(&server, &format!("key=shop&key=blog&{DAY}")).await;
    page.until(DRAWN).await;
    page.press(&[Key::Home]).await;
    let first = page.readout().await;
    assert!(first.contains("shop 100") && first.contains("blog 40"), "{first}");
    page.press(&[Key::Right, Key::Right]).await;
    assert!(page.readout().await.contains("shop 120"));
    page.press(&[Key::End]).await;
    let last = page.readout().await;
    assert!(last.contains("shop 330") && last.contains("blog 0"), "{last}");
    page.until("document.querySelectorAll('#explorer-chart .mark').length === 1").await;

    // From the third hour to the sixth one.
    page.value("document.getElementById('explorer-chart').scrollIntoView({block: 'center'})").await;
    let (from, to) = (page.middle(2).await, page.middle(5).await);
    let to_place = |(x, y): (f64, f64)| PointerAction::MoveTo { duration: None, x, y };
    let hover = MouseActions::new("mouse".to_owned()).then(to_place(from));
    page.browser.perform_actions(hover).await.expect("moved");
    page.until("document.getElementById('explorer-readout').innerText.includes('shop 120')").await;
    let button = fantoccini::actions::MOUSE_BUTTON_LEFT;
    let drag = MouseActions::new("mouse".to_owned())
        .then(to_place(from))
        .then(PointerAction::Down { button })
        .then(to_place((f64::midpoint(from.0, to.0), from.1)))
        .then(to_place(to))
        .then(PointerAction::Up { button });
    page.browser.perform_actions(drag).await.expect("dragged");
    page.until("location.hash.includes('from=2026-01-05T02%3A00%3A00Z&to=2026-01-05T06%3A00%3A00Z')").await;
    page.until("document.querySelectorAll('#explorer-chart .columns rect').length === 16").await;
    page.shows("explorer-sum", "700").await;

    // The same by keyboard: two columns, and Enter.
    page.press(&[Key::Home]).await;
    page.press(&[Key::Shift, Key::Right]).await;
    page.press(&[Key::Enter]).await;
    page.until("document.querySelectorAll('#explorer-chart .columns rect').length === 2").await;
    page.browser.back().await.expect("a page");
    page.until("document.querySelectorAll('#explorer-chart .columns rect').length === 16").await;
    page.browser.find(Locator::Id("explorer-whole")).await.expect("a button").click().await.expect("a click");
    page.until("location.hash.includes('range=24h')").await;
    assert_eq!(page.complaints().await, json!([]));
    page.close().await;
}

#[tokio::test]
async fn a_heat_map_a_table_and_files_have_the_same_values() {
    if without("chromium") {
        return;
    }
    let server = server();
    let page = Page::explore(&server, &format!("key=shop&key=blog&{DAY}")).await;
    page.until(DRAWN).await;
    page.browser
        .find(Locator::Css("#explorer-table summary"))
        .await
        .expect("a summary")
        .click()
        .await
        .expect("a click");
    page.until("document.querySelectorAll('#explorer-rows tbody tr').length === 24").await;
    let row = page.value("document.querySelector('#explorer-rows tbody tr').innerText").await;
    assert_eq!(row, json!("2026-01-05T00:00:00Z\t100\t40"));
    // A file that the browser would save is kept instead.
    let keep =
        "window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob.text()); return '#saved'; };
        addEventListener('click', (event) => { if (event.target.download) event.preventDefault(); }, true);
        HTMLAnchorElement.prototype.click = function () { saved.push(this.download); };";
    page.browser.execute(keep, vec![]).await.expect("kept");
    for id in ["explorer-csv", "explorer-svg"] {
        page.browser.find(Locator::Id(id)).await.expect("a button").click().await.expect("a click");
    }
    page.until("saved.length === 4").await;
    let script = "const done = arguments[0]; Promise.all(saved).then(done)";
    let saved = page.browser.execute_async(script, vec![]).await.expect("the files");
    assert_eq!((&saved[1], &saved[3]), (&json!("visits.csv"), &json!("visits.svg")));
    let csv = saved[0].as_str().expect("a text");
    assert!(csv.starts_with("time,shop,blog\n2026-01-05T00:00:00Z,100,40\n"), "{csv}");
    assert!(
        saved[2].as_str().is_some_and(|svg| svg.starts_with("<svg") && svg.contains("prefers-color-scheme"))
    );

    let select = page.browser.find(Locator::Id("kind")).await.expect("a field");
    select.select_by_value("heatmap").await.expect("a choice");
    page.until("document.querySelectorAll('#explorer-chart .cells rect').length === 168").await;
    page.shows("explorer-sum", "5,640").await;
    page.press(&[Key::Home, Key::Right, Key::Right, Key::Right]).await;
    let cell = page.readout().await;
    let is_told = |zone: &str| cell.contains(zone);
    // The browser's zone decides which hour of Monday it is.
    assert!(is_told("Mon 03:00") && cell.contains("per hour"), "{cell}");
    assert_eq!(page.complaints().await, json!([]));
    page.close().await;
}

#[tokio::test]
async fn names_of_all_kinds_are_text_and_the_page_fits_on_a_phone() {
    if without("chromium") {
        return;
    }
    let server = server();
    let long = "k".repeat(512);
    let body = json!({"key": long, "n": 3, "at": "2026-01-05T03:05:00Z"}).to_string();
    server.client().post("/v1/series/visits", body).expect(202);
    let keys = [MARKUP, "مرحبا ١٢", "shop", &long].map(|key| format!("key={}&", encoded(key))).concat();
    let page = Page::explore(&server, &format!("{keys}{DAY}&kind=line")).await;
    page.until(DRAWN).await;
    page.press(&[Key::Home, Key::Right, Key::Right, Key::Right]).await;
    let readout = page.readout().await;
    for part in [MARKUP, "مرحبا ١٢", "shop 130"] {
        assert!(readout.contains(part), "{part}: {readout}");
    }
    assert_eq!(page.value("document.title").await, json!("Forebay"));
    assert_eq!(page.value("document.querySelector('#explorer img')").await, Value::Null);
    for (width, scheme) in [(1_280, "light"), (1_280, "dark"), (390, "light"), (390, "dark")] {
        page.look(width, 1_000, scheme).await;
        let theme = if scheme == "dark" { "#e2e8f0" } else { "#1f2937" };
        page.until(&format!(
            "Number(document.querySelector('#explorer-chart svg').getAttribute('width')) <= {width} &&
             document.querySelector('#explorer-chart text').getAttribute('fill') === '{theme}'"
        ))
        .await;
        let overflow =
            page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow, json!(0), "{width}");
        let unnamed = "[...document.querySelectorAll('#explorer button, #explorer select, #explorer input')]
            .filter((field) => !field.textContent.trim() && !field.labels?.length && !field.ariaLabel).length";
        assert_eq!(page.value(unnamed).await, json!(0));
        // FOREBAY_SCREENSHOTS names a folder for people that want to see it.
        if let Some(folder) = std::env::var_os("FOREBAY_SCREENSHOTS") {
            let explorer = page.browser.find(Locator::Css("#explorer")).await.expect("a section");
            let picture = explorer.screenshot().await.expect("a picture");
            let path = std::path::Path::new(&folder).join(format!("explorer-{width}-{scheme}.png"));
            std::fs::write(path, picture).expect("a file");
        }
    }
    assert_eq!(page.complaints().await, json!([]));
    page.close().await;
}

/// The place of a refused chart is hidden, and so has another width than the chart that was asked for.
#[tokio::test]
async fn a_refused_chart_is_not_asked_for_again_at_once() {
    if without("chromium") {
        return;
    }
    let server = server();
    let page = Page::explore(&server, &format!("key=shop&{DAY}")).await;
    page.until(DRAWN).await;
    // Slow answers: the place is laid out before each of them.
    let count = "window.asked = 0; window.began = performance.now(); const ask = window.fetch;
        window.fetch = async (...call) => {
            if (String(call[0]).includes('chart.svg')) asked += 1;
            await new Promise((done) => setTimeout(done, 50));
            return ask(...call);
        };";
    page.value(&format!("(() => {{ {count} }})()")).await;
    // More points than an answer has.
    let state = "key=shop&from=1996-01-05T00%3A00%3A00Z&to=2026-01-06T00%3A00%3A00Z&step=15m";
    page.browser.goto(&address(&server, state)).await.expect("a page");
    page.until("document.getElementById('explorer-drawn').hidden").await;
    page.until("performance.now() > began + 1500").await;
    assert_eq!(page.value("asked").await, json!(1));
    page.close().await;
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"))
}

#[test]
fn the_whole_page_is_small() {
    let server = Server::example();
    let page = server.client().get("/").body;
    let named = page.split('"').filter(|part| part.starts_with("/assets/")).map(str::to_owned);
    let mut files: Vec<String> = named.collect();
    let mut all = page.len();
    let mut place = 0;
    while let Some(path) = files.get(place).cloned() {
        place += 1;
        let file = server.client().get(&path).body;
        all += file.len();
        let imported = file.split("from \"./").skip(1).filter_map(|rest| rest.split_once('"'));
        for (name, _) in imported {
            let path = format!("/assets/{name}");
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10 && all < 120_000, "{all} bytes in {files:?}");
}
