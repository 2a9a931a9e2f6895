//! Answers as labels: method and code, read from what the relay has written.

/// The methods that the relay answers, as labels.
pub const METHODS: [(u16, &str); 5] = [
    (0x001, "binding"),
    (0x003, "allocate"),
    (0x004, "refresh"),
    (0x008, "create_permission"),
    (0x009, "channel_bind"),
];

/// What an answer says, as labels: success is 0, `None` of the known codes is "other".
pub const OUTCOMES: [(u16, &str); 19] = [
    (0, "success"),
    (300, "300"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (405, "405"),
    (420, "420"),
    (437, "437"),
    (438, "438"),
    (440, "440"),
    (441, "441"),
    (442, "442"),
    (443, "443"),
    (446, "446"),
    (447, "447"),
    (486, "486"),
    (500, "500"),
    (508, "508"),
    (u16::MAX, "other"),
];

/// Method and error code (0: success) of an answer that the relay has written; `None` when it is not one.
pub fn reply_outcome(reply: &[u8]) -> Option<(u16, u16)> {
    let kind = u16::from_be_bytes(reply.first_chunk().copied()?);
    // RFC 8489 §5: the class bits 0x0110 lie between the bits of the method.
    let method = kind & 0x000F | kind >> 1 & 0x0070 | kind >> 2 & 0x0F80;
    match kind & 0x0110 {
        0x0100 => Some((method, 0)),
        0x0110 => {
            // The relay writes ERROR-CODE first: type, length, two reserved bytes, class, number.
            let value = reply
                .get(20..28)
                .filter(|value| value.starts_with(&[0x00, 0x09]))?;
            Some((
                method,
                u16::from(*value.get(6)?) * 100 + u16::from(*value.get(7)?),
            ))
        }
        _ => None,
    }
}
