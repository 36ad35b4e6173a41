//! Requests that are carried out once.

use futures::future::join_all;

use super::fresh;
use crate::{bay::Forebay, once::Once};

pub(super) async fn a_request_is_the_first_once_and_then_known_by_its_answer(bay: Forebay) {
    let key = format!("POST /v1/{} {{ }} é", fresh("once"));
    let Once::First(begun) = bay.once(&key, u128::MAX).await.unwrap() else { panic!("nobody came before") };
    assert!(matches!(bay.once(&key, u128::MAX).await.unwrap(), Once::Running));
    assert!(matches!(bay.once(&key, 1).await.unwrap(), Once::Other));
    let answer = "202 {\"accepted\": 1}\n\u{0}é";
    begun.end(answer).await.unwrap();
    for _ in 0..2 {
        let Once::Done(known) = bay.once(&key, u128::MAX).await.unwrap() else { panic!("it was ended") };
        assert_eq!(&*known, answer);
        assert!(matches!(bay.once(&key, 1).await.unwrap(), Once::Other));
    }
}

pub(super) async fn a_request_that_came_to_nothing_may_be_repeated(bay: Forebay) {
    let key = fresh("once");
    for print in 0..3 {
        let Once::First(begun) = bay.once(key.as_str(), print).await.unwrap() else {
            panic!("it was forgotten")
        };
        begun.forget().await.unwrap();
    }
}

pub(super) async fn many_at_once_have_one_first(bay: Forebay) {
    let key = fresh("once");
    let answers = join_all((0..20).map(|_| bay.once(key.as_str(), 7))).await;
    let firsts = answers.into_iter().filter(|answer| matches!(answer, Ok(Once::First(_))));
    assert_eq!(firsts.count(), 1);
}
