//! Hearing what other replicas publish. One connection a channel; it is pinged when it is silent, so that one that
//! died without a word is noticed, and made anew for ever. Invariant: after every interruption subscribers hear
//! `Gap` before any message.

use super::{Heard, Shared};
use futures_util::StreamExt as _;
use redis::{RedisResult, aio::PubSub};
use std::time::Duration;
use tokio::{sync::broadcast, time::timeout};

/// Messages a slow subscriber may fall behind before it has missed some.
const BACKLOG: usize = 256;

impl Shared {
    /// Hears every message of a channel from now on; first `Gap`, when the subscription stands.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> broadcast::Receiver<Heard> {
        let mut channels = self.0.channels.lock();
        if let Some(sender) = channels.get(channel) {
            let receiver = sender.subscribe();
            // The others read once more than they must.
            sender.send(Heard::Gap).ok();
            return receiver;
        }
        let (sender, receiver) = broadcast::channel(BACKLOG);
        channels.insert(channel.to_owned(), sender.clone());
        self.0.tasks.spawn(self.clone().listen(channel.to_owned(), sender));
        receiver
    }

    async fn listen(self, channel: String, sender: broadcast::Sender<Heard>) {
        let stop = self.0.stop.clone();
        let for_ever = async {
            loop {
                if let Ok(Ok(source)) = timeout(self.patience(), self.tune_in(&channel)).await {
                    self.hear(source, &sender).await;
                }
                if !self.pause().await {
                    return;
                }
            }
        };
        stop.run_until_cancelled(for_ever).await;
    }

    async fn tune_in(&self, channel: &str) -> RedisResult<PubSub> {
        let mut source = self.0.client.get_async_pubsub().await?;
        source.subscribe(channel).await?;
        Ok(source)
    }

    /// Passes messages on until the connection breaks.
    async fn hear(&self, source: PubSub, sender: &broadcast::Sender<Heard>) {
        // It fails when nobody listens in this process just now, which is fine, here and below.
        sender.send(Heard::Gap).ok();
        let silence = Duration::from_millis(self.0.config.probe_ms);
        let (mut sink, mut messages) = source.split();
        loop {
            match timeout(silence, messages.next()).await {
                Ok(None) => return,
                Ok(Some(message)) => {
                    if let Ok(text) = message.get_payload::<String>() {
                        sender.send(Heard::Message(text)).ok();
                    }
                }
                Err(_) => match timeout(self.patience(), sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return,
                },
            }
        }
    }
}
