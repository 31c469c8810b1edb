//! Anomalies on synthetic traces with known change points: no labelled public set exists. // req: S2-3.4

use super::*;

/// A random source that any seed repeats (`SplitMix64`, Steele, Lea and Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A length whose logarithm has that mean (base 2) and standard deviation (base e), as message lengths have.
    pub(super) fn log_normal(&mut self, centre: f32, width: f32) -> u32 {
        let log = f64::from(centre) * std::f64::consts::LN_2 + f64::from(width) * self.normal();
        log.exp().min(4e9) as u32
    }

    /// Seconds until the next of that many a minute.
    fn pause(&mut self, per_min: f64) -> f64 {
        -self.unit().ln() * 60.0 / per_min
    }
}

fn watch() -> Watch {
    Watch::new(&AnomalyConfig::default())
}

fn message(caller: &str, length: u32) -> Seen<'_> {
    Seen { caller, length: Some(length), refused: Some(false), network: None }
}

/// A steady caller of a trace.
struct Steady {
    centre: f32,
    width: f32,
    per_min: f64,
    /// From this hour to before that one.
    hours: (i64, i64),
    /// Minutes of activity and of silence, in turns.
    session: (f64, f64),
}

const DAY: i64 = 86_400;
/// A Monday, 00:00 UTC.
const BEGIN: i64 = 1_767_571_200;

/// Plays a caller for some days; how many messages there were, and of which kinds anomalies were told.
fn play(watch: &Watch, name: &str, steady: &Steady, days: i64, random: &mut Random) -> (usize, Vec<Kind>) {
    let (mut count, mut told) = (0, Vec::new());
    for day in 0..days {
        let (from, to) = steady.hours;
        let (mut now, end) =
            ((BEGIN + day * DAY + from * 3_600) as f64, (BEGIN + day * DAY + to * 3_600) as f64);
        let mut session = now + steady.session.0 * 60.0;
        loop {
            now += random.pause(steady.per_min);
            if now > session {
                now += steady.session.1 * 60.0 * random.unit() * 2.0;
                session = now + steady.session.0 * 60.0;
            }
            if now >= end {
                break;
            }
            let length = random.log_normal(steady.centre, steady.width);
            told.extend(watch.observe(&message(name, length), now as i64).kinds());
            count += 1;
        }
    }
    (count, told)
}

const PEOPLE: [Steady; 6] = [
    // Somebody who writes short messages at work.
    Steady { centre: 6.0, width: 0.8, per_min: 3.0, hours: (9, 18), session: (20.0, 40.0) },
    // One whose messages are of all lengths.
    Steady { centre: 8.0, width: 1.6, per_min: 2.0, hours: (8, 22), session: (10.0, 30.0) },
    // A program around the clock, of one length.
    Steady { centre: 9.0, width: 0.05, per_min: 4.0, hours: (0, 24), session: (1_440.0, 0.0) },
    // A busy program.
    Steady { centre: 10.0, width: 0.5, per_min: 45.0, hours: (8, 20), session: (120.0, 30.0) },
    // Somebody of the night.
    Steady { centre: 7.0, width: 1.0, per_min: 2.0, hours: (0, 6), session: (15.0, 20.0) },
    // Now and then.
    Steady { centre: 7.0, width: 1.2, per_min: 0.2, hours: (8, 21), session: (60.0, 60.0) },
];

// req: S2-3.4
#[test]
fn steady_callers_are_told_of_in_fewer_than_one_message_in_a_thousand() {
    let mut random = Random(1);
    let watch = watch();
    let (mut all, mut told_of) = (0, 0);
    for (kind, steady) in PEOPLE.iter().enumerate() {
        let (mut messages, mut told) = (0, Vec::new());
        for caller in 0..20 {
            // The busy ones say enough in a week.
            let days = if steady.per_min > 10.0 { 7 } else { 40 };
            let played = play(&watch, &format!("key:{kind}-{caller}"), steady, days, &mut random);
            messages += played.0;
            told.extend(played.1);
        }
        let share = told.len() as f64 / messages as f64;
        let of = |kind| told.iter().filter(|it| **it == kind).count();
        let counts = Kind::ALL.map(|kind| (kind.as_str(), of(kind)));
        println!("steady {kind}: {messages} messages, {share:.6} told, {counts:?}");
        assert!(share < 0.001, "caller of kind {kind}: {share} of {messages}, {counts:?}");
        all += messages;
        told_of += told.len();
    }
    println!("all: {told_of} of {all}");
    assert!((told_of as f64) < 0.0005 * all as f64, "{told_of} of {all}");
}

// req: S2-3.4
#[test]
fn newcomers_of_whom_little_is_known_are_told_of_as_rarely() {
    let mut random = Random(2);
    let watch = watch();
    let (mut messages, mut told) = (0, 0);
    for caller in 0..3_000 {
        let (name, width) = (format!("key:new-{caller}"), 0.3 + (caller % 10) as f32 * 0.14);
        let mut now = (BEGIN + 9 * 3_600) as f64;
        for _ in 0..60 {
            now += random.pause(3.0);
            let found = watch.observe(&message(&name, random.log_normal(7.0, width)), now as i64);
            (messages, told) = (messages + 1, told + found.kinds().count());
        }
    }
    println!("newcomers: {told} of {messages}");
    assert!((told as f64) < 0.001 * f64::from(messages), "{told} of {messages}");
}

/// A caller that is known, at noon of the eleventh day.
fn known(watch: &Watch, name: &str) -> i64 {
    play(watch, name, &PEOPLE[0], 10, &mut Random(7));
    BEGIN + 10 * DAY + 12 * 3_600
}

// req: S2-3.4
#[test]
fn longer_messages_than_ever_are_told_within_a_stated_number() {
    let watch = watch();
    let mut random = Random(3);
    for (factor, within) in [(64.0, 3), (24.0, 8), (12.0, 30)] {
        let mut worst = 0;
        for caller in 0..20 {
            let name = format!("key:{factor}-{caller}");
            let now = known(&watch, &name);
            let found = (1..=50).find(|number| {
                let length = (f64::from(random.log_normal(6.0, 0.8)) * factor) as u32;
                watch
                    .observe(&message(&name, length), now + number * 60)
                    .kinds()
                    .any(|kind| kind == Kind::Length)
            });
            worst = worst.max(found.unwrap_or(99));
        }
        println!("length x{factor}: told within {worst} messages");
        assert!(worst <= within, "x{factor}: {worst}");
    }
}

#[test]
fn ten_messages_must_be_known_before_a_length_is_strange() {
    let watch = watch();
    for number in 0..10 {
        assert!(watch.observe(&message("key:new", 80 + number), BEGIN + 43_200).kinds().next().is_none());
    }
    let found = watch.observe(&message("key:new", 100_000), BEGIN + 43_200);
    assert_eq!(found.kinds().collect::<Vec<_>>(), [Kind::Length], "{found:?}");
    let again = watch.observe(&message("key:new", 100_000), BEGIN + 43_260);
    assert!(again.kinds().next().is_none(), "told once an hour: {again:?}");
    let later = watch.observe(&message("key:new", 100_000), BEGIN + 43_200 + 3_600);
    assert_eq!(later.kinds().collect::<Vec<_>>(), [Kind::Length]);
}

// req: S2-3.4
#[test]
fn a_burst_is_told_at_its_21st_message_and_one_of_an_ordinarily_busy_caller_at_three_times_its_rate() {
    let quick = |watch: &Watch, name: &str, now: i64, per_sec: i64| {
        (1..=400).find(|number| {
            let seen = message(name, 70);
            watch.observe(&seen, now + number / per_sec).kinds().any(|kind| kind == Kind::Burst)
        })
    };
    let watch = watch();
    assert_eq!(quick(&watch, "key:newcomer", BEGIN + 43_200, 2), Some(21));
    let now = known(&watch, "key:person");
    let found = quick(&watch, "key:person", now, 2).expect("told");
    assert!((21..=30).contains(&found), "{found}");
    play(&watch, "key:busy", &PEOPLE[3], 5, &mut Random(5));
    let now = BEGIN + 5 * DAY + 43_200;
    let found = quick(&watch, "key:busy", now, 10).expect("told");
    assert!((100..=200).contains(&found), "forty-five a minute are ordinary: {found}");
    // Twenty in a minute, again and again, are none.
    for number in 0..400 {
        let found = watch.observe(&message("key:even", 70), BEGIN + 43_200 + number * 4);
        assert!(found.kinds().next().is_none(), "{number}: {found:?}");
    }
}

// req: S2-3.4
#[test]
fn another_hour_than_ever_is_told_at_its_first_message_once_a_night() {
    let watch = watch();
    known(&watch, "key:day");
    let night = BEGIN + 10 * DAY + 3 * 3_600;
    let hours = |now| watch.observe(&message("key:day", 64), now).kinds().any(|kind| kind == Kind::Hours);
    assert!(hours(night));
    assert!(!hours(night + 60) && !hours(night + 3_600) && !hours(night + 7_200), "told once");
    assert!(!hours(BEGIN + 10 * DAY + 43_200), "noon is ordinary");
    let early = watch.observe(&message("key:stranger", 64), night);
    assert_eq!(early.kinds().collect::<Vec<_>>(), [Kind::Hours], "who is unknown has the configured hours");
    let late = watch.observe(&message("key:other", 64), BEGIN + 8 * 3_600);
    assert!(late.kinds().next().is_none() && late.first);
    // Whose habit is the night is at home there, and strange at noon.
    play(&watch, "key:owl", &PEOPLE[4], 20, &mut Random(9));
    let owl = |now| watch.observe(&message("key:owl", 128), now).kinds().any(|kind| kind == Kind::Hours);
    assert!(!owl(BEGIN + 20 * DAY + 3 * 3_600) && owl(BEGIN + 20 * DAY + 43_200));
}

#[test]
fn hours_are_those_of_the_time_zone_and_may_go_over_midnight() {
    let config = AnomalyConfig { timezone: "Asia/Tokyo".into(), ..AnomalyConfig::default() };
    let tokyo = Watch::new(&config);
    let strange = |watch: &Watch, name, now| watch.observe(&message(name, 9), now).kinds().next().is_some();
    assert!(!strange(&tokyo, "a", BEGIN) && strange(&tokyo, "b", BEGIN + 14 * 3_600), "9:00 and 23:00");
    let night = Watch::new(&AnomalyConfig { hours: [22, 6], ..AnomalyConfig::default() });
    assert!(!strange(&night, "a", BEGIN + 3_600) && strange(&night, "b", BEGIN + 43_200));
    let always = Watch::new(&AnomalyConfig { hours: [0, 0], ..AnomalyConfig::default() });
    assert!(!strange(&always, "a", BEGIN) && !strange(&always, "b", BEGIN + 43_200));
}

// req: S2-3.4
#[test]
fn five_refusals_in_a_row_are_told_and_an_answer_between_begins_anew() {
    let watch = watch();
    let noon = BEGIN + 43_200;
    let refused = |now, refused| {
        let seen = Seen { caller: "key:a", length: None, refused, network: None };
        watch.observe(&seen, now).kinds().next()
    };
    let row = |kinds: [Option<bool>; 6]| kinds.map(|it| refused(noon, it));
    assert_eq!(row([Some(true), Some(true), Some(true), Some(true), Some(false), Some(true)]), [None; 6]);
    // A provider that failed is no refusal, and no answer either.
    let found = row([Some(true), Some(true), None, Some(true), Some(true), Some(true)]);
    assert_eq!(found, [None, None, None, None, Some(Kind::Refusals), None]);
}

// req: S2-3.4
#[test]
fn a_key_used_from_a_network_it_never_was_used_from_is_told() {
    let watch = watch();
    let from = |address: &str, now| {
        let network = Some(network(address.parse().unwrap()));
        watch
            .observe(&Seen { caller: "key:a", length: None, refused: Some(false), network }, now)
            .kinds()
            .next()
    };
    for number in 0..10 {
        assert_eq!(from(if number % 2 == 0 { "10.0.0.1" } else { "203.0.113.9" }, BEGIN), None);
    }
    assert_eq!(from("203.0.77.1", BEGIN), None, "the same network");
    assert_eq!(from("192.168.1.1", BEGIN), None, "private as 10.0.0.1 is");
    assert_eq!(from("198.51.100.1", BEGIN), Some(Kind::Network));
    assert_eq!(from("198.51.100.1", BEGIN + 7_200), None, "known by now");
    assert_eq!(from("2001:db8::1", BEGIN + 7_200), Some(Kind::Network));
    assert_eq!(network("::ffff:203.0.113.9".parse().unwrap()), network("203.0.1.1".parse().unwrap()));
}

#[test]
fn settings_out_of_range_are_named() {
    let config = AnomalyConfig {
        callers: 0,
        z: 0.0,
        burst: 0,
        hours: [8, 25],
        timezone: "Mars/Olympus".into(),
        refusals: 0,
        quiet_secs: 0,
        alert_per_hour: 0,
        records_per_min: 0,
        enabled: true,
    };
    let mut out = Vec::new();
    config.problems("anomaly", &mut out);
    assert_eq!(out.len(), 9, "{out:?}");
    out.clear();
    AnomalyConfig::default().problems("anomaly", &mut out);
    assert!(out.is_empty());
}
