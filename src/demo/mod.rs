//! Floor 4: what `pointsman demo` shows, with nothing to install or write first.
//!
//! Two example applications ([`app`]), a steady [`load`] of visitors, and the [`setup`] that ties them to a proxy:
//! its configuration, the check of its ports, and the text that says what to type next. Knows nothing of how the
//! proxy works; it meets it as any application and any visitor would.

pub mod app;
pub mod load;
pub mod setup;
mod websocket;
