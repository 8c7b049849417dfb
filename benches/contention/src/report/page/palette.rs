//! Which colour each contender has: the same in all plots. Relatives have related colours.

use plotters::style::RGBColor;

/// Colours by contender; one that is not here is grey.
const COLOURS: &[(&str, RGBColor)] = &[
    ("contempo", RGBColor(200, 16, 46)),
    ("contempo-cell", RGBColor(240, 113, 103)),
    ("contempo-declared", RGBColor(233, 30, 120)),
    ("contempo-timid", RGBColor(190, 120, 130)),
    ("contempo-greedy", RGBColor(160, 80, 90)),
    ("contempo-karma", RGBColor(215, 150, 120)),
    ("contempo-polite", RGBColor(200, 130, 150)),
    ("stm", RGBColor(106, 44, 145)),
    ("fast-stm", RGBColor(157, 78, 221)),
    ("async-stm", RGBColor(199, 125, 255)),
    ("std-mutex", RGBColor(18, 52, 110)),
    ("parking_lot-mutex", RGBColor(58, 124, 189)),
    ("std-rwlock", RGBColor(11, 110, 115)),
    ("parking_lot-rwlock", RGBColor(51, 168, 168)),
    ("ordered-std", RGBColor(56, 102, 35)),
    ("ordered-parking_lot", RGBColor(122, 168, 60)),
    ("arc-swap", RGBColor(214, 147, 0)),
    ("atomic", RGBColor(66, 66, 66)),
    ("dashmap", RGBColor(150, 75, 20)),
    ("scc", RGBColor(196, 122, 60)),
    ("papaya", RGBColor(110, 60, 40)),
    ("crossbeam-skiplist", RGBColor(170, 100, 90)),
    ("crossbeam-channel", RGBColor(150, 75, 20)),
    ("sequential", RGBColor(130, 130, 130)),
    ("unshared", RGBColor(0, 0, 0)),
];

/// The colour of a contender. Variants of contempo that have none of their own are reddish.
pub(super) fn colour(contender: &str) -> RGBColor {
    let known = COLOURS.iter().find(|(name, _)| *name == contender);
    match known {
        Some((_, colour)) => *colour,
        None if contender.starts_with("contempo") => RGBColor(225, 90, 130),
        None => RGBColor(120, 120, 120),
    }
}

/// How thick its lines are: contempo as users get it is what most look for here.
pub(super) fn weight(contender: &str) -> u32 {
    if contender == "contempo" { 3 } else { 1 }
}
