//! A second receiver on a directory that has one.

use std::time::{Duration, Instant};

use super::alone;
use crate::harness::{Load, Receiver, Site, Sizes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_receiver_on_the_directory_is_refused_and_the_first_goes_on() {
    let _alone = alone().await;
    let site = Site::new("", "");
    let mut first = Receiver::start(&site).await;
    let load = Load::new(8, Sizes::Fixed(500));
    let pushing = tokio::spawn({
        let (load, to) = (load.clone(), first.public);
        async move { load.push(to, 2000).await }
    });
    let second_site = site.with_disk("second", site.disk());
    let started = Instant::now();
    let second = Receiver::bind(&second_site, None).await;
    let took = started.elapsed();
    let Err(failed) = second else {
        panic!("the second receiver started")
    };
    println!(
        "two receivers: the second ended after {took:.0?}: {}",
        failed.0.stderr.trim()
    );
    assert!(
        failed.0.code().is_some_and(|code| code != 0),
        "{:?}",
        failed.0.status
    );
    assert!(took < Duration::from_secs(2), "refused only after {took:?}");
    assert_eq!(pushing.await.expect("the first answers all").len(), 2000);
    load.push(first.public, 100).await;
    let exit = first.terminate(Duration::from_secs(20)).await;
    assert_eq!(exit.code(), Some(0), "the first stops cleanly");
    println!("two receivers: PASS");
}
