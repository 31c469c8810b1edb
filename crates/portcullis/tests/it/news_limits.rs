//! Limits of embedding seen through a whole digest of the real binary, whose posts are compared by a provider's model.

use crate::support::{WIDE, metric, post, serve};
use portcullis_testkit::{
    pages::{Post, Web, feed_atom, own_words},
    upstream::OpenAi,
};
use serde_json::json;

// req: S0-06, S0-07
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hundred_and_first_embedding_call_of_a_minute_is_not_made_and_the_digest_arrives() {
    let (double, web) = (OpenAi::start().await, Web::start().await);
    double.change(|options| options.models.push("gemini-embedding-001".to_owned()));
    let now = jiff::Timestamp::now().to_string();
    let post_of = |id: u64| Post { id, text: own_words(id), time: now.clone(), reply_to: None };
    let posts: Vec<Post> = (1..=120).map(post_of).collect();
    let _site = web.here().page("/feed", feed_atom(&posts));
    let config = format!(
        "{WIDE}[models.\"openai/gemini-embedding-001\"]\nkind = \"embed\"\ndimensions = 16\n\
         [news]\nembedder = \"openai/gemini-embedding-001\"\nposts_per_source = 200\nembed_budget_secs = 30\n\
         [embed]\nbatch = 1\n[pages]\nallow_private = [\"{}\"]\n",
        web.address()
    );
    let mut server = serve(&double, &double.base_url(), &config).await;
    let key = server.key().unwrap();
    let source = format!("http://{}/feed", web.address());
    let ask = json!({"sources": [source], "window_hours": 24, "stories": 5, "language": "en"});
    let digest = post(server.address(), "/v1/news/digest", &key, &ask).await;
    assert_eq!(digest.status, 200, "{digest:?}");
    let told = digest.json();
    assert_eq!((told["stories"].as_array().unwrap().len(), &told["degraded"]), (5, &json!(true)), "{told}");
    let embeddings = || double.received().iter().filter(|seen| seen.target.ends_with("/embeddings")).count();
    // With the 101st, what is under way beside it may be given up.
    assert!((98..=100).contains(&embeddings()), "{}", embeddings());
    assert!(double.counts().max_in_flight <= 5);
    let limited = "degraded_total{app=\"news\",step=\"embed\",reason=\"rate_limited\"}";
    assert_eq!(metric(server.address(), limited).await as u64, 1);
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
}
