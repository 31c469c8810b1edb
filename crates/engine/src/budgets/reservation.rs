//! One reservation, from before its call to the last byte of its answer. Invariant: it ends exactly once: settled,
//! released, or, dropped on the way, charged with what its call had read by then.

use super::{Amount, Ask, Budgets, Entries, LedgerId, LedgerPrice};
use bytes::Bytes;
use futures_core::Stream;
use portcullis_domain::{ByteStream, Failure, Meter, Reply, ReplyBody, Usage};
use portcullis_store::Spent;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Room in every budget of a caller for one call.
pub struct Reservation(Option<Open>);

struct Open {
    budgets: Budgets,
    id: LedgerId,
    entries: Entries,
    epoch: u64,
    asked: Amount,
    price: Option<LedgerPrice>,
    route: Arc<str>,
    provider: Arc<str>,
    model: Arc<str>,
    input: u64,
}

impl Reservation {
    pub(super) fn new(
        budgets: Budgets,
        id: LedgerId,
        entries: Entries,
        epoch: u64,
        asked: Amount,
        price: Option<LedgerPrice>,
        ask: &Ask<'_>,
    ) -> Self {
        let (route, provider, model) = (ask.route.clone(), ask.provider.clone(), ask.model.clone());
        let input = ask.input;
        Self(Some(Open { budgets, id, entries, epoch, asked, price, route, provider, model, input }))
    }

    /// Charges what the call came to.
    pub fn settle(mut self, usage: Usage) {
        if let Some(open) = self.0.take() {
            open.settle(usage);
        }
    }

    /// Gives everything back: the call was not made, or failed.
    pub fn release(mut self) {
        if let Some(open) = self.0.take() {
            open.budgets.0.store.ledger().release(open.id);
            open.budgets.settled(open.id, open.entries, open.epoch, open.asked, Amount::NOTHING);
        }
    }

    /// Settles a whole answer now, and a streamed one at its end, however it ends.
    #[must_use]
    pub fn carry(self, reply: Reply) -> Reply {
        let body = match reply.body {
            ReplyBody::Whole(bytes) => {
                self.settle(reply.meter.get());
                ReplyBody::Whole(bytes)
            }
            ReplyBody::Message(message) => {
                self.settle(reply.meter.get());
                ReplyBody::Message(message)
            }
            ReplyBody::Stream(source) => {
                let meter = reply.meter.clone();
                ReplyBody::Stream(Box::pin(Carrying { source, reservation: Some(self), meter }))
            }
        };
        Reply { body, ..reply }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            // Given up while the provider was at work: what it has read it bills.
            let usage = Usage { input: open.input, estimated: true, ..Usage::default() };
            open.settle(usage);
        }
    }
}

impl Open {
    fn settle(self, usage: Usage) {
        let usage = if usage.estimated {
            Usage { input: generous(usage.input), output: generous(usage.output), ..usage }
        } else {
            self.budgets.learn(&self.provider, &self.model, self.input, usage.input);
            usage
        };
        let Usage { input, cached, output, estimated, .. } = usage;
        let micros = self.price.map_or(0, |price| price.cost(input, cached, output));
        let inner = &*self.budgets.0;
        inner.store.ledger().settle(self.id, Spent { input, cached, output, micros, estimated });
        if micros > 0 {
            inner.metrics.ai_cost(&self.provider, &self.route, micros);
        }
        let spent = Amount { tokens: input.saturating_add(output), micros };
        self.budgets.settled(self.id, self.entries, self.epoch, self.asked, spent);
    }
}

/// Our own count and a tenth: providers count more than we see.
const fn generous(tokens: u64) -> u64 {
    tokens.saturating_add(tokens.div_ceil(10))
}

/// A streamed answer with its reservation.
struct Carrying {
    source: ByteStream,
    reservation: Option<Reservation>,
    meter: Meter,
}

impl Carrying {
    fn end(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(self.meter.get());
        }
    }
}

impl Stream for Carrying {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.source.as_mut().poll_next(cx));
        if !matches!(item, Some(Ok(_))) {
            self.end();
        }
        Poll::Ready(item)
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        // The caller hung up: what it has read it pays.
        self.end();
    }
}
