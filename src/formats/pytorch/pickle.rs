//! A reader of pickles that runs nothing: it rebuilds dictionaries, lists, texts, integers and tensors, and takes
//! everything else as opaque.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::formats::pytorch::operands::Operands;
use crate::formats::pytorch::tensor::Storage;
use crate::formats::pytorch::value::{Id, Value};
use crate::formats::reader::invalid;

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    pub(super) root: Id,
}

impl Pickle {
    pub(super) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Opaque)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the storages, one for every mention.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// Reads a pickle up to its STOP.
    pub(super) fn read(reader: impl Read) -> io::Result<Self> {
        let mut machine = Machine {
            operands: Operands(reader),
            values: vec![Value::Opaque],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            paired: 0,
        };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self { values: machine.values, root })
    }
}

/// The stack machine that a pickle is a program for.
pub(super) struct Machine<R> {
    operands: Operands<R>,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// How many pairs have been copied from lists to dictionaries.
    pub(super) paired: usize,
}

/// The index of the one opaque value.
const OPAQUE: Id = 0;

/// The most values of a pickle: more than any checkpoint has, and few enough for any machine.
const MOST_VALUES: usize = 1 << 23;

impl<R: Read> Machine<R> {
    /// Executes one instruction; returns false after the last one.
    fn step(&mut self) -> io::Result<bool> {
        let code = self.operands.byte()?;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(self.operands.byte()?),
            0x95 => drop(self.operands.number(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.drop_top()?,
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Value::Opaque)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'I' => {
                let value = match self.operands.line()?.as_str() {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    digits => digits.parse().map_or(Value::Opaque, Value::Integer),
                };
                self.push(value)?;
            }
            b'L' => {
                let value = self.operands.line()?.trim_end_matches('L').parse().map_or(Value::Opaque, Value::Integer);
                self.push(value)?;
            }
            b'J' => {
                let bits = self.operands.number(4)? as u32;
                self.push(Value::Integer(i64::from(bits as i32)))?;
            }
            b'K' | b'M' => {
                let value = self.operands.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Value::Integer(value as i64))?;
            }
            0x8a | 0x8b => self.long(if code == 0x8a { 1 } else { 4 })?,
            b'F' => {
                self.operands.line()?;
                self.push(Value::Opaque)?;
            }
            b'G' => {
                self.operands.number(8)?;
                self.push(Value::Opaque)?;
            }
            b'S' | b'V' => {
                let line = self.operands.line()?;
                let text = if code == b'S' { line.trim_matches(['\'', '"']) } else { &line };
                self.push(Value::Text(text.into()))?;
            }
            b'U' | 0x8c => self.text(1)?,
            b'T' | b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'C' => self.skip(1)?,
            b'B' => self.skip(4)?,
            0x8e | 0x96 => self.skip(8)?,
            b')' | b']' | 0x8f => self.push(Value::Sequence(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b't' | b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Value::Sequence(items))?;
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
                let items = self.stack.split_off(start);
                self.push(Value::Sequence(items))?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Value::Dict(pairs(&items)))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.insert(&items)?;
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let index = match code {
                    b'p' => self.operands.line()?.parse().map_err(|_| invalid("a pickle with a broken memo index"))?,
                    b'q' => self.operands.number(1)?,
                    b'r' => self.operands.number(4)?,
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?;
                self.memo.insert(index, top);
            }
            b'g' | b'h' | b'j' => {
                let index = match code {
                    b'g' => self.operands.line()?.parse().map_err(|_| invalid("a pickle with a broken memo index"))?,
                    b'h' => self.operands.number(1)?,
                    _ => self.operands.number(4)?,
                };
                let id = *self.memo.get(&index).ok_or_else(|| invalid("a pickle refers to a value it lacks"))?;
                self.stack.push(id);
            }
            b'c' => {
                let (module, name) = (self.operands.line()?, self.operands.line()?);
                self.push(global(&module, &name))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = match (self.get(module), self.get(name)) {
                    (Value::Text(module), Value::Text(name)) => global(module, name),
                    _ => return Err(invalid("a pickle with a class that has no name")),
                };
                self.push(global)?;
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = self.call(function, arguments)?;
                self.stack.push(result);
            }
            0x81 => {
                let (_arguments, class) = (self.pop()?, self.pop()?);
                self.object(class)?;
            }
            0x92 => {
                let (_keywords, _arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.object(class)?;
            }
            b'o' => {
                let items = self.pop_mark()?;
                let class = *items.first().ok_or_else(underflow)?;
                self.object(class)?;
            }
            b'i' => {
                self.operands.line()?;
                self.operands.line()?;
                self.pop_mark()?;
                self.push(Value::Object(None))?;
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                if let Some(Value::Object(old)) = self.values.get_mut(object) {
                    *old = Some(state);
                }
            }
            b'P' => {
                self.operands.line()?;
                self.push(Value::Opaque)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let found = self.persistent(id)?;
                self.stack.push(found);
            }
            0x82..=0x84 => {
                self.operands.number(1 << (code - 0x82))?;
                self.push(Value::Opaque)?;
            }
            0x97 => self.push(Value::Opaque)?,
            0x98 => {}
            _ => return Err(invalid(format!("a pickle with the unknown instruction {code:#04x}"))),
        }
        Ok(true)
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Opaque)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Keeps a value and returns its index.
    pub(super) fn add(&mut self, value: Value) -> io::Result<Id> {
        if value == Value::Opaque {
            return Ok(OPAQUE);
        }
        if self.values.len() >= MOST_VALUES {
            return Err(invalid(format!("a pickle of more than {MOST_VALUES} values")));
        }
        self.values.push(value);
        Ok(self.values.len() - 1)
    }

    fn push(&mut self, value: Value) -> io::Result<()> {
        let id = self.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    /// Returns the height under which the instructions after the last mark cannot reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> io::Result<Id> {
        self.stack.last().copied().filter(|_| self.stack.len() > self.floor()).ok_or_else(underflow)
    }

    fn pop(&mut self) -> io::Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Drops the top of the stack, which may be a mark.
    fn drop_top(&mut self) -> io::Result<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_mark(&mut self) -> io::Result<Vec<Id>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }

    /// Appends to the list on top of the stack.
    fn extend(&mut self, items: &[Id]) -> io::Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Some(Value::Sequence(list)) => list.extend_from_slice(items),
            // A list of a class of its own.
            Some(object @ Value::Object(_)) => *object = Value::Sequence(items.to_vec()),
            _ => {}
        }
        Ok(())
    }

    /// Inserts keys and values, one after the other, into the dictionary on top of the stack.
    fn insert(&mut self, items: &[Id]) -> io::Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Some(Value::Dict(dict)) => dict.extend(pairs(items)),
            // A dictionary of a class of its own.
            Some(object @ Value::Object(_)) => *object = Value::Dict(pairs(items)),
            _ => {}
        }
        Ok(())
    }

    /// Creates an object without its state.
    fn object(&mut self, class: Id) -> io::Result<()> {
        let value = super::globals::new(self.get(class));
        self.push(value)
    }

    /// Reads an integer whose length comes first; those that need more than 8 bytes are opaque.
    fn long(&mut self, len_bytes: usize) -> io::Result<()> {
        let len = self.operands.number(len_bytes)?;
        let bytes = self.operands.content(len)?;
        let value = match bytes.as_deref() {
            Some([]) => Value::Integer(0),
            Some(bytes) if bytes.len() <= 8 => {
                let negative = bytes.last().is_some_and(|&last| last >= 0x80);
                let mut number = [if negative { 0xff } else { 0 }; 8];
                number.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
                Value::Integer(i64::from_le_bytes(number))
            }
            _ => Value::Opaque,
        };
        self.push(value)
    }

    /// Reads a text whose length comes first; one that is long or not UTF-8 is opaque.
    fn text(&mut self, len_bytes: usize) -> io::Result<()> {
        let len = self.operands.number(len_bytes)?;
        let text = self.operands.content(len)?.and_then(|bytes| String::from_utf8(bytes).ok());
        self.push(text.map_or(Value::Opaque, |text| Value::Text(text.into())))
    }

    /// Skips bytes whose length comes first.
    fn skip(&mut self, len_bytes: usize) -> io::Result<()> {
        let len = self.operands.number(len_bytes)?;
        self.operands.skip(len)?;
        self.push(Value::Opaque)
    }
}

/// Pairs up keys and values that lie one after the other.
fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.as_chunks().0.iter().map(|&[key, value]| (key, value)).collect()
}

/// Returns a class or a function, or an opaque value if its name is longer than any that is known.
///
/// A name can be made of parts that the pickle has once, as often as it says, and must not need much more memory.
fn global(module: &str, name: &str) -> Value {
    const LONGEST: usize = 200;
    if module.len() + name.len() > LONGEST {
        return Value::Opaque;
    }
    Value::Global(format!("{module}.{name}").into())
}

fn underflow() -> io::Error {
    invalid("a pickle takes more values than it has")
}
