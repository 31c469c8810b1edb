//! Streamed answers: byte for byte, an honest end, and nothing left behind when somebody goes away.

use super::{World, call, chat, drain, hello, model, stream};
use futures_util::StreamExt as _;
use portcullis_domain::{Failure, Role};
use portcullis_testkit::upstream::{Behaviour, Pace};
use std::time::Duration;

#[tokio::test]
async fn a_stream_passes_without_the_usage_chunk_that_nobody_asked_for() {
    let world = World::start().await;
    let reply = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
    let meter = reply.meter.clone();
    let (text, failure) = drain(stream(reply)).await;
    assert_eq!((failure, world.double.violations()), (None, vec![]));
    insta::assert_snapshot!("stream_request", String::from_utf8_lossy(&world.double.received()[0].body));
    insta::assert_snapshot!("stream_answer", text);
    assert!(!text.contains("\"usage\":{") && text.ends_with("data: [DONE]\n\n"));
    let usage = meter.get();
    assert!(usage.input > 0 && usage.output > 0 && !usage.estimated, "{usage:?}");
}

#[tokio::test]
async fn a_stream_passes_with_the_usage_chunk_that_was_asked_for() {
    let world = World::start().await;
    let request = chat(&[(Role::User, "hi")], true, true);
    let reply = world.provider().chat(&call(), &request, &model("gpt-double")).await.unwrap();
    let (text, failure) = drain(stream(reply)).await;
    assert!(failure.is_none() && text.contains("\"usage\":{"), "{text}");
}

#[tokio::test]
async fn a_stream_that_comes_byte_by_byte_is_the_same_stream() {
    let world = World::start().await;
    let whole = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
    world.double.next(Behaviour::Trickle { every: Duration::from_micros(1) });
    let trickled = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
    let words = |text: String| -> Vec<String> {
        let contents = text.split("\"content\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        contents.map(str::to_owned).collect()
    };
    let (whole, trickled) = (drain(stream(whole)).await, drain(stream(trickled)).await);
    assert_eq!((whole.1, trickled.1), (None, None));
    assert_eq!(words(whole.0), words(trickled.0));
}

#[tokio::test]
async fn the_first_chunk_and_each_later_one_are_timed_and_whole_answers_are_not() {
    let world = World::start().await;
    let count = |name: &str| -> u64 {
        let text = world.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}_seconds_count{{")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let counts = || {
        ["time_to_first_chunk", "time_per_output_chunk"]
            .map(|name| count(&format!("gen_ai_client_operation_{name}")))
    };
    world.provider().chat(&call(), &hello(false), &model("gpt-double")).await.unwrap();
    assert_eq!(counts(), [0, 0]);
    world.double.next(Behaviour::Trickle { every: Duration::from_micros(1) });
    let reply = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
    assert_eq!(counts()[0], 1, "it is told as soon as it is there");
    assert_eq!(drain(stream(reply)).await.1, None);
    let [first, later] = counts();
    assert!(first == 1 && later > 1, "{later}");
}

// req: S0-05
#[tokio::test]
async fn an_answer_that_breaks_off_is_never_presented_as_finished() {
    for behaviour in [
        Behaviour::CutAfter(3),
        Behaviour::EndAfter(3),
        Behaviour::ErrorEventAfter(3),
        Behaviour::HangAfterHead,
    ] {
        let world = World::start().await;
        world.double.next(behaviour.clone());
        let reply = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
        let meter = reply.meter.clone();
        let (text, failure) = drain(stream(reply)).await;
        assert_eq!(failure, Some(Failure::UpstreamInterrupted), "{behaviour:?}");
        assert!(
            !text.contains("[DONE]") && !text.contains("\"error\"") && text.starts_with("data: "),
            "{text}"
        );
        assert!(meter.get().estimated, "{behaviour:?}");
        assert_eq!(world.double.counts().requests, 1, "nothing is tried again after the first byte");
        let metrics = world.metrics.render();
        assert!(metrics.contains("ai_failures{provider=\"double\""), "{behaviour:?}");
        assert!(
            metrics.contains("ai_requests_total{provider=\"double\",route=\"test\",outcome=\"error\"} 1"),
            "{behaviour:?}"
        );
        assert!(!metrics.contains("provider=\"double\",outcome=\"ok\""), "counted once");
        assert_eq!(world.in_use("double"), 0, "{behaviour:?}");
    }
}

#[tokio::test]
async fn an_endless_event_is_cut_at_its_bound() {
    let world = World::start().await;
    world.double.next(Behaviour::Huge(1 << 30));
    let refusal =
        world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.map(|_| ()).unwrap_err();
    assert_eq!((refusal.reason, refusal.pass_on), ("failure", true));
}

#[tokio::test]
async fn dropping_the_stream_is_seen_by_the_provider_and_frees_its_place() {
    let world = World::start().await;
    let pace = Pace { between_chunks: Duration::from_millis(50), chunks: Some(1000), ..Pace::default() };
    world.double.next(Behaviour::Paced(pace));
    let reply = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
    let (meter, mut stream) = (reply.meter.clone(), stream(reply));
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(world.in_use("double"), 1);
    drop(stream);
    assert_eq!(world.in_use("double"), 0);
    world.double.wait_for_hang_ups(1).await;
    assert!(meter.get().estimated);
    let metrics = world.metrics.render();
    assert!(
        metrics.contains("ai_requests_total{provider=\"double\",route=\"test\",outcome=\"cancelled\"} 1"),
        "{metrics}"
    );
    assert!(!metrics.contains("ai_failures{provider"), "going away is nobody's failure");
}

#[tokio::test]
async fn dropping_a_call_before_its_answer_is_seen_by_the_provider() {
    let world = World::start().await;
    world.double.always(Behaviour::Hang);
    let provider = world.provider();
    let (request, call, model) = (hello(true), call(), model("gpt-double"));
    {
        let asking = std::pin::pin!(provider.chat(&call, &request, &model));
        tokio::select! {
            _ = asking => panic!("nobody answers"),
            _ = world.double.wait_for_requests(1) => {}
        }
    }
    assert_eq!(world.in_use("double"), 0);
    world.double.wait_for_hang_ups(1).await;
}

#[tokio::test]
async fn a_finished_stream_leaves_its_connection_for_the_next() {
    let world = World::start().await;
    for _ in 0..3 {
        let reply = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
        assert_eq!(drain(stream(reply)).await.1, None);
    }
    assert_eq!(world.double.counts().connections, 1);
}

#[tokio::test]
async fn a_fault_right_behind_the_first_chunk_shows_after_it() {
    let world = World::start().await;
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: nonsense\n\n";
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    world.double.next(Behaviour::Status { status: 200, headers, body: body.into() });
    let reply = world.provider().chat(&call(), &hello(true), &model("gpt-double")).await.unwrap();
    let (text, failure) = drain(stream(reply)).await;
    assert_eq!(failure, Some(Failure::UpstreamInterrupted));
    assert_eq!(text, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n");
}
