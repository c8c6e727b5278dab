//! The name of what is sent: a delivery, or one item of a delivery that is split.

use std::fmt;

use creel_common::ids::DeliveryId;

/// What a destination recognises a repeat by. The same each time it is sent.
///
/// Written as the delivery's id, with `-` and the item's number behind it where the delivery is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId {
    /// The delivery that it is, or is of. Its items share it: alone it names none of them.
    pub delivery: DeliveryId,
    /// Which of the delivery's items, if the route splits it.
    pub part: Option<Part>,
}

/// One of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Part {
    /// Its place among them, from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl From<DeliveryId> for ItemId {
    fn from(delivery: DeliveryId) -> Self {
        Self {
            delivery,
            part: None,
        }
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Some(part) => write!(f, "{}-{}", self.delivery, part.number),
            None => self.delivery.fmt(f),
        }
    }
}

/// `3/5`
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use creel_common::ids::LogId;

    use super::*;

    #[test]
    fn every_item_of_a_delivery_has_a_name_of_its_own() {
        let delivery = DeliveryId {
            log: LogId::from_bits(1),
            offset: 7,
        };
        let third = ItemId {
            delivery,
            part: Some(Part { number: 3, of: 5 }),
        };
        assert_eq!(ItemId::from(delivery).to_string(), "0000000000000001-7");
        assert_eq!(third.to_string(), "0000000000000001-7-3");
    }
}
