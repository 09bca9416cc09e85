//! A page in headless Chromium, and everything that it asks for or complains about.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams,
};
use chromiumoxide::cdp::browser_protocol::log::EventEntryAdded;
use chromiumoxide::cdp::browser_protocol::network::{EnableParams, EventRequestWillBeSent};
use chromiumoxide::cdp::js_protocol::runtime::{EventConsoleApiCalled, EventExceptionThrown};
use chromiumoxide::js::EvaluationResult;
use chromiumoxide::layout::Point;
use chromiumoxide::{Browser, BrowserConfig, Page};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page that is open.
pub(crate) struct Opened {
    browser: Browser,
    page: Page,
    driver: JoinHandle<()>,
    listeners: JoinSet<()>,
    heard: Arc<Mutex<Heard>>,
    _profile: TempDir,
}

/// What came from a page without being asked for.
#[derive(Default)]
pub(crate) struct Heard {
    /// Addresses that it wanted something from.
    pub(crate) requests: Vec<String>,
    /// Errors, warnings and whatever else it wrote to the console.
    pub(crate) complaints: Vec<String>,
}

impl Opened {
    /// Opens a file in a window of 1000 by 900 pixels that likes light colours.
    pub(crate) async fn file(path: &Path) -> Self {
        let profile = TempDir::new().unwrap();
        let config = BrowserConfig::builder()
            .new_headless_mode()
            .user_data_dir(profile.path())
            .args(["disable-dev-shm-usage", "disable-gpu"]);
        // Chromium refuses to run as root inside its sandbox, and containers are root.
        let is_root = std::fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let config = if is_root { config.no_sandbox() } else { config };
        let config = config.build();
        let config = config.expect("Chromium is installed: `make setup-test` does it");
        let (browser, mut events) = Browser::launch(config).await.unwrap();
        let driver = tokio::spawn(async move { while events.next().await.is_some() {} });
        let page = browser.new_page("about:blank").await.unwrap();
        page.execute(EnableParams::default()).await.unwrap();
        let mut opened = Self {
            browser,
            page,
            driver,
            listeners: JoinSet::new(),
            heard: Arc::default(),
            _profile: profile,
        };
        opened.listen().await;
        opened.screen(1000, "light").await;
        let address = format!("file://{}", path.canonicalize().unwrap().display());
        opened.page.goto(address).await.unwrap();
        opened
    }

    async fn listen(&mut self) {
        let page = self.page.clone();
        let heard = Arc::clone(&self.heard);
        let mut requests = page
            .event_listener::<EventRequestWillBeSent>()
            .await
            .unwrap();
        self.listeners.spawn(async move {
            while let Some(event) = requests.next().await {
                heard
                    .lock()
                    .unwrap()
                    .requests
                    .push(event.request.url.clone());
            }
        });
        let heard = Arc::clone(&self.heard);
        let mut errors = page.event_listener::<EventExceptionThrown>().await.unwrap();
        self.listeners.spawn(async move {
            while let Some(event) = errors.next().await {
                let what = format!("{:?}", event.exception_details);
                heard.lock().unwrap().complaints.push(what);
            }
        });
        let heard = Arc::clone(&self.heard);
        let mut console = page
            .event_listener::<EventConsoleApiCalled>()
            .await
            .unwrap();
        self.listeners.spawn(async move {
            while let Some(event) = console.next().await {
                heard
                    .lock()
                    .unwrap()
                    .complaints
                    .push(format!("{:?}", event.args));
            }
        });
        let heard = Arc::clone(&self.heard);
        let mut log = page.event_listener::<EventEntryAdded>().await.unwrap();
        self.listeners.spawn(async move {
            while let Some(event) = log.next().await {
                heard
                    .lock()
                    .unwrap()
                    .complaints
                    .push(event.entry.text.clone());
            }
        });
    }

    /// Gives the window another width and its reader other wishes (`light`, `dark`).
    pub(crate) async fn screen(&self, width: i64, scheme: &str) {
        let metrics = SetDeviceMetricsOverrideParams::new(width, 900, 1.0, width < 600);
        self.page.execute(metrics).await.unwrap();
        let wish = MediaFeature::new("prefers-color-scheme", scheme);
        self.page.emulate_media_features(vec![wish]).await.unwrap();
    }

    /// Returns what an expression of JavaScript is worth.
    pub(crate) async fn value<T: DeserializeOwned>(&self, expression: &str) -> T {
        self.evaluate(expression).await.into_value().unwrap()
    }

    /// Runs a script for what it does.
    pub(crate) async fn act(&self, script: &str) {
        self.evaluate(script).await;
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let wait = format!(
            "new Promise((done) => {{ const look = () => (({expression}) ? done(true) : requestAnimationFrame(look)); look(); }})"
        );
        self.evaluate(&wait).await;
    }

    /// A page that was never drawn would be waited for without end.
    async fn evaluate(&self, script: &str) -> EvaluationResult {
        let result = timeout(PATIENCE, self.page.evaluate(script)).await;
        let heard = || self.heard.lock().unwrap().complaints.join("\n");
        assert!(result.is_ok(), "no answer to {script}\n{}", heard());
        let result = result.unwrap();
        assert!(result.is_ok(), "{script}: {result:?}\n{}", heard());
        result.unwrap()
    }

    /// Moves the mouse, as a hand would.
    pub(crate) async fn point(&self, x: f64, y: f64) {
        self.page.move_mouse(Point::new(x, y)).await.unwrap();
    }

    /// Types into an element, or presses a key in it.
    pub(crate) async fn press(&self, selector: &str, key: &str) {
        let element = self.page.find_element(selector).await.unwrap();
        element.focus().await.unwrap();
        element.press_key(key).await.unwrap();
    }

    /// Types a word into a field.
    pub(crate) async fn write(&self, selector: &str, text: &str) {
        let element = self.page.find_element(selector).await.unwrap();
        element.focus().await.unwrap();
        element.type_str(text).await.unwrap();
    }

    /// Closes it and returns what was heard of it.
    pub(crate) async fn close(mut self) -> Heard {
        self.browser.close().await.unwrap();
        self.browser.wait().await.unwrap();
        self.driver.await.unwrap();
        while self.listeners.join_next().await.is_some() {}
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}
