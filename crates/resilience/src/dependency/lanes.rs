//! The lanes of a dependency: one for each key we have there, with its own account (hold) and its own limits a minute,
//! paused, learned and paced by itself. Breaker and places are the dependency's: they are about the provider, not
//! about a key. Pure, with `now` passed in.
//!
//! Invariants: no lane exceeds its own limits; a held lane receives nothing while another is free; among lanes with
//! room the turn goes round. Source: gateway.md section 3, "Several keys for one provider".

use super::account::Account;
use crate::pacing::{Learn, Learned, PacePolicy, Pacer, Reserved, Ticket};
use std::time::Duration;
use tokio::time::Instant;

/// One key.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) account: Account,
    pub(super) pacer: Pacer,
}

impl Lane {
    fn new(pace: PacePolicy, learn: Learn) -> Self {
        let mut pacer = Pacer::new(pace);
        pacer.set_learn(learn);
        Self { account: Account::default(), pacer }
    }
}

/// Room in one lane.
#[derive(Debug)]
#[must_use]
pub(super) struct Room {
    pub(super) lane: usize,
    reserved: Reserved,
}

/// A call sent in one lane.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) lane: usize,
    pub(super) ticket: Ticket,
}

/// Who asks, as far as a held account cares.
#[derive(Clone, Copy)]
pub(super) struct Asks {
    /// Other targets are ready to take over.
    pub(super) others: bool,
    /// How often a held or paused lane may be tried.
    pub(super) every: Duration,
}

/// All of them. Lanes are never taken away, because calls may be under way in them; only the first `active` get new
/// ones.
#[derive(Debug)]
pub(super) struct Lanes {
    all: Vec<Lane>,
    active: usize,
    /// Whose turn it is.
    turn: usize,
}

impl Lanes {
    pub(super) fn new(count: usize, pace: PacePolicy, learn: Learn) -> Self {
        let active = count.max(1);
        Self { all: (0..active).map(|_| Lane::new(pace, learn)).collect(), active, turn: 0 }
    }

    /// Another policy, perhaps with other keys: what was held for a refused key is tried anew.
    pub(super) fn set_policy(&mut self, count: usize, pace: PacePolicy, learn: Learn) {
        self.active = count.max(1);
        for lane in &mut self.all {
            lane.pacer.set_policy(pace);
            lane.pacer.set_learn(learn);
            lane.account.new_keys();
        }
        while self.all.len() < self.active {
            self.all.push(Lane::new(pace, learn));
        }
    }

    pub(super) fn active(&self) -> &[Lane] {
        &self.all[..self.active]
    }

    pub(super) fn get(&mut self, lane: usize) -> Option<&mut Lane> {
        self.all.get_mut(lane)
    }

    /// Whether a call may be made: true when it would be a try of a held lane, because all are held.
    ///
    /// # Errors
    /// How long not.
    pub(super) fn check(&self, asks: Asks, now: Instant) -> Result<bool, Duration> {
        let (mut trial, mut least) = (false, Duration::MAX);
        for lane in self.active() {
            match lane.account.check(asks.others, asks.every, now) {
                Ok(false) => return Ok(false),
                Ok(true) => trial = true,
                Err(wait) => least = least.min(wait),
            }
        }
        if trial { Ok(true) } else { Err(least) }
    }

    /// Room in the lane whose turn it is, or in the next that has some. `trial` as `check` said.
    ///
    /// # Errors
    /// The least wait of any.
    pub(super) fn reserve(
        &mut self,
        tokens: u32,
        trial: bool,
        asks: Asks,
        now: Instant,
    ) -> Result<Room, Duration> {
        let mut least = Duration::MAX;
        for step in 0..self.active {
            let lane = self.at(step);
            if !self.usable(lane, trial, asks, now) {
                continue;
            }
            match self.all[lane].pacer.reserve(tokens, now) {
                Ok(reserved) => {
                    self.turn = lane + 1;
                    return Ok(Room { lane, reserved });
                }
                Err(wait) => least = least.min(wait),
            }
        }
        Err(least)
    }

    /// Room in a paused lane in spite of its pause, once in a while.
    pub(super) fn probe(&mut self, tokens: u32, trial: bool, asks: Asks, now: Instant) -> Option<Room> {
        (0..self.active).find_map(|step| {
            let lane = self.at(step);
            if asks.others || !self.usable(lane, trial, asks, now) {
                return None;
            }
            let reserved = self.all[lane].pacer.probe(tokens, asks.every, now)?;
            self.turn = lane + 1;
            Some(Room { lane, reserved })
        })
    }

    /// The last look at room that was reserved some time ago: its lane may be held by now, or paused, or have a lower
    /// limit. Then another lane's is taken in its place if there is some.
    ///
    /// # Errors
    /// How long to wait; the room is kept unless its lane is held.
    pub(super) fn confirm(
        &mut self,
        room: &mut Option<Room>,
        tokens: u32,
        trial: bool,
        asks: Asks,
        now: Instant,
    ) -> Result<(), Duration> {
        let (usable, wait) = match room {
            Some(room) if self.usable(room.lane, trial, asks, now) => {
                (true, self.all[room.lane].pacer.must_wait(&room.reserved, now))
            }
            Some(_) | None => (false, None),
        };
        if usable && wait.is_none() {
            return Ok(());
        }
        match self.reserve(tokens, trial, asks, now) {
            Ok(other) => {
                if let Some(before) = room.replace(other) {
                    self.give_back(before);
                }
                Ok(())
            }
            Err(elsewhere) => {
                if !usable && let Some(before) = room.take() {
                    self.give_back(before);
                }
                Err(wait.map_or(elsewhere, |wait| wait.min(elsewhere)))
            }
        }
    }

    pub(super) fn send(&mut self, room: Room, trial: bool, now: Instant) -> Sent {
        let Room { lane, reserved } = room;
        let chosen = &mut self.all[lane];
        if trial {
            chosen.account.tried(now);
        }
        Sent { lane, ticket: chosen.pacer.send(reserved, now) }
    }

    pub(super) fn give_back(&mut self, room: Room) {
        self.all[room.lane].pacer.give_back(room.reserved);
    }

    /// How long all of them are held; none while one is free.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        self.least(|lane| lane.account.held(now))
    }

    /// How long all of them are held or paused; none while one is neither.
    pub(super) fn paused(&self, now: Instant) -> Option<Duration> {
        self.least(|lane| lane.account.held(now).max(lane.pacer.paused(now)))
    }

    pub(super) fn held_count(&self, now: Instant) -> usize {
        self.active().iter().filter(|lane| lane.account.held(now).is_some()).count()
    }

    /// Releases all; true when one was held.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        let held = self.all.iter().any(|lane| lane.account.held(now).is_some());
        self.all.iter_mut().for_each(|lane| lane.account.release());
        held
    }

    /// Calls a minute over all lanes, as the provider says; 0 while it says nothing.
    pub(super) fn learned_per_min(&self, now: Instant) -> i64 {
        self.active().iter().filter_map(|lane| lane.pacer.learned_per_min(now)).map(i64::from).sum()
    }

    pub(super) fn learn(&mut self, lane: usize, learned: &Learned, now: Instant) {
        if let Some(lane) = self.all.get_mut(lane) {
            lane.pacer.learn(learned, now);
        }
    }

    /// Whether no lane has a call that is neither sent nor given back.
    #[cfg(test)]
    pub(super) fn are_at_rest(&self) -> bool {
        self.all.iter().all(|lane| lane.pacer.is_at_rest())
    }

    fn at(&self, step: usize) -> usize {
        (self.turn + step) % self.active
    }

    /// A held lane is used only as a try, when all are held.
    fn usable(&self, lane: usize, trial: bool, asks: Asks, now: Instant) -> bool {
        lane < self.active && self.all[lane].account.check(asks.others, asks.every, now) == Ok(trial)
    }

    fn least(&self, wait: impl Fn(&Lane) -> Option<Duration>) -> Option<Duration> {
        self.active().iter().map(wait).min().flatten()
    }
}

#[cfg(test)]
mod tests;
