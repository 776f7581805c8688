//! Messages of Protocol Buffers, written.

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    pub(super) fn float(mut self, field: u64, value: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(super) fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }
}

/// Returns a `NodeProto`; the node is named after its first output.
pub(super) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<Message>) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, name| node.text(1, name));
    let node = outputs.iter().fold(node, |node, name| node.text(2, name));
    let node = node.text(3, outputs.first().copied().unwrap_or(op)).text(4, op);
    attributes.into_iter().fold(node, |node, attribute| node.message(5, attribute))
}

/// Returns an `AttributeProto` of an integer.
pub(super) fn int(name: &str, value: i64) -> Message {
    Message::default().text(1, name).int(3, value).int(20, 2)
}

pub(super) fn ints(name: &str, values: &[i64]) -> Message {
    values.iter().fold(Message::default().text(1, name), |message, &value| message.int(8, value)).int(20, 7)
}

pub(super) fn float(name: &str, value: f32) -> Message {
    Message::default().text(1, name).float(2, value).int(20, 1)
}

pub(super) fn floats(name: &str, values: &[f32]) -> Message {
    values.iter().fold(Message::default().text(1, name), |message, &value| message.float(7, value)).int(20, 6)
}

pub(super) fn text(name: &str, value: &str) -> Message {
    Message::default().text(1, name).text(4, value).int(20, 3)
}

pub(super) fn texts(name: &str, values: &[&str]) -> Message {
    values.iter().fold(Message::default().text(1, name), |message, value| message.text(9, value)).int(20, 8)
}

/// Returns a `TensorProto` with raw data.
pub(super) fn tensor(name: &str, data_type: i64, shape: &[usize], bytes: &[u8]) -> Message {
    let tensor = shape.iter().fold(Message::default(), |tensor, &size| tensor.int(1, size as i64));
    tensor.int(2, data_type).text(8, name).bytes(9, bytes)
}

/// A dimension of a declared shape.
pub(super) enum Size<'a> {
    Fixed(usize),
    Named(&'a str),
}

/// Returns a `ValueInfoProto` of a tensor.
pub(super) fn value(name: &str, data_type: i64, shape: &[Size<'_>]) -> Message {
    let shape = shape.iter().fold(Message::default(), |shape, size| {
        shape.message(
            1,
            match size {
                Size::Fixed(size) => Message::default().int(1, *size as i64),
                Size::Named(name) => Message::default().text(2, name),
            },
        )
    });
    let tensor = Message::default().int(1, data_type).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}
