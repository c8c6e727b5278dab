//! A wall clock that the test sets, for processes that are started under it.

use creel_common::wall::Wall;

use super::Site;

/// One that is right; `None` where there is no libfaketime, and says aloud that `test` is left out.
pub fn wall_or_left_out(test: &str, site: &Site) -> Option<Wall> {
    if Wall::library().is_none() {
        println!("left out: {test}: there is no libfaketime");
        eprintln!("left out: {test}: there is no libfaketime");
        return None;
    }
    Some(Wall::new(site.path("wall")).expect("a file in our own directory"))
}
