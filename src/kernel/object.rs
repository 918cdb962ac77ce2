//! A safe interface to libnftnl's objects.
//!
//! An attribute's constant says to which object it belongs and what type it has, so that a number
//! cannot be written where the C library expects a string. Lengths are checked here, because
//! libnftnl 1.2.4 copies what it is given into fixed buffers.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use nftnl::nftnl_sys::{self as sys, libc};

use super::attribute;
use super::message::MessageWriter;

/// A string attribute of `T`.
pub(super) struct Str<T>(u16, PhantomData<T>);
/// A 32-bit attribute of `T`.
pub(super) struct U32<T>(u16, PhantomData<T>);
/// A 64-bit attribute of `T`.
pub(super) struct U64<T>(u16, PhantomData<T>);
/// An 8-bit attribute of `T`.
pub(super) struct U8<T>(u16, PhantomData<T>);
/// A byte-string attribute of `T`, with the longest value that may be written.
pub(super) struct Bytes<T>(u16, usize, PhantomData<T>);

impl<T> Str<T> {
    pub(super) const fn new(attribute: u32) -> Self {
        Self(attribute as u16, PhantomData)
    }
}
impl<T> U32<T> {
    pub(super) const fn new(attribute: u32) -> Self {
        Self(attribute as u16, PhantomData)
    }
}
impl<T> U64<T> {
    pub(super) const fn new(attribute: u32) -> Self {
        Self(attribute as u16, PhantomData)
    }
}
impl<T> U8<T> {
    pub(super) const fn new(attribute: u32) -> Self {
        Self(attribute as u16, PhantomData)
    }
}
impl<T> Bytes<T> {
    pub(super) const fn new(attribute: u32, max: usize) -> Self {
        Self(attribute as u16, max, PhantomData)
    }
}

/// Declares an owned C object with its allocator, and the accessors that all objects share.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident, $raw:ident, $alloc:ident, $free:ident,
     $set_str:ident, $set_u32:ident, $is_set:ident, $get_str:ident, $get_u32:ident) => {
        $(#[$doc])*
        pub(super) struct $name(NonNull<sys::$raw>);

        impl $name {
            pub(super) fn new() -> Self {
                // SAFETY: allocates and has no precondition.
                Self(NonNull::new(unsafe { sys::$alloc() }).expect("libnftnl allocates"))
            }

            pub(super) fn set_str(&mut self, attribute: Str<Self>, value: &str) {
                let value = c_string(value);
                // SAFETY: the object is live and ours alone, the attribute is one of its string
                // attributes, and the library copies the string, which ends with a zero.
                unsafe { sys::$set_str(self.0.as_ptr(), attribute.0, value.as_ptr()) };
            }

            #[allow(dead_code, reason = "not every object needs it")]
            pub(super) fn set_u32(&mut self, attribute: U32<Self>, value: u32) {
                // SAFETY: the object is live and ours alone, and the attribute is one of its
                // 32-bit attributes.
                unsafe { sys::$set_u32(self.0.as_ptr(), attribute.0, value) };
            }

            #[allow(dead_code, reason = "not every object needs it")]
            pub(super) fn str(&self, attribute: Str<Self>) -> Option<String> {
                // SAFETY: the object is live; the library answers null or a string that ends with
                // a zero and lives as long as the object, of which a copy leaves here.
                unsafe {
                    sys::$is_set(self.0.as_ptr(), attribute.0)
                        .then(|| copy_c_string(sys::$get_str(self.0.as_ptr(), attribute.0)))?
                }
            }

            #[allow(dead_code, reason = "not every object needs it")]
            pub(super) fn u32(&self, attribute: U32<Self>) -> Option<u32> {
                // SAFETY: the object is live and the attribute is one of its 32-bit attributes.
                unsafe {
                    sys::$is_set(self.0.as_ptr(), attribute.0)
                        .then(|| sys::$get_u32(self.0.as_ptr(), attribute.0))
                }
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the object is live, ours alone, and not used again.
                unsafe { sys::$free(self.0.as_ptr()) };
            }
        }
    };
}

/// Adds access to byte-string attributes.
macro_rules! byte_attributes {
    ($name:ident, $set:ident, $is_set:ident, $get:ident) => {
        impl $name {
            pub(super) fn set_bytes(&mut self, attribute: Bytes<Self>, value: &[u8]) {
                assert!(value.len() <= attribute.1, "{} bytes do not fit", value.len());
                let (data, len) = (value.as_ptr().cast::<c_void>(), value.len() as u32);
                // SAFETY: the object is live and ours alone, the attribute is one of its
                // byte-string attributes, the library copies `len` bytes from `data`, and the
                // check above keeps that within what it has room for.
                unsafe { sys::$set(self.0.as_ptr(), attribute.0, data, len) };
            }

            #[allow(dead_code, reason = "not every object needs it")]
            pub(super) fn bytes(&self, attribute: Bytes<Self>) -> Option<&[u8]> {
                let mut len = 0;
                // SAFETY: the object is live; the library answers null or a pointer to `len` bytes
                // that stay as they are while the object is borrowed.
                unsafe {
                    if !sys::$is_set(self.0.as_ptr(), attribute.0) {
                        return None;
                    }
                    let data = sys::$get(self.0.as_ptr(), attribute.0, &mut len);
                    slice(data, len)
                }
            }
        }
    };
}

object!(
    /// `struct nftnl_table`.
    Table, nftnl_table, nftnl_table_alloc, nftnl_table_free, nftnl_table_set_str,
    nftnl_table_set_u32, nftnl_table_is_set, nftnl_table_get_str, nftnl_table_get_u32
);
byte_attributes!(Table, nftnl_table_set_data, nftnl_table_is_set, nftnl_table_get_data);
object!(
    /// `struct nftnl_chain`.
    Chain, nftnl_chain, nftnl_chain_alloc, nftnl_chain_free, nftnl_chain_set_str,
    nftnl_chain_set_u32, nftnl_chain_is_set, nftnl_chain_get_str, nftnl_chain_get_u32
);
byte_attributes!(Chain, nftnl_chain_set_data, nftnl_chain_is_set, nftnl_chain_get_data);
object!(
    /// `struct nftnl_rule`.
    Rule, nftnl_rule, nftnl_rule_alloc, nftnl_rule_free, nftnl_rule_set_str,
    nftnl_rule_set_u32, nftnl_rule_is_set, nftnl_rule_get_str, nftnl_rule_get_u32
);
byte_attributes!(Rule, nftnl_rule_set_data, nftnl_rule_is_set, nftnl_rule_get_data);
object!(
    /// `struct nftnl_set`.
    Set, nftnl_set, nftnl_set_alloc, nftnl_set_free, nftnl_set_set_str,
    nftnl_set_set_u32, nftnl_set_is_set, nftnl_set_get_str, nftnl_set_get_u32
);
byte_attributes!(Set, nftnl_set_set_data, nftnl_set_is_set, nftnl_set_get_data);

/// `struct nftnl_set_elem`, owned.
pub(super) struct Element(NonNull<sys::nftnl_set_elem>);

/// An element of a parsed set, valid while the set is.
pub(super) struct ElementRef<'a>(NonNull<sys::nftnl_set_elem>, PhantomData<&'a Set>);

/// `struct nftnl_expr`, owned until a rule or set takes it.
pub(super) struct Expression(NonNull<sys::nftnl_expr>);

/// An expression of a parsed rule or set, valid while that is.
pub(super) struct ExpressionRef<'a>(NonNull<sys::nftnl_expr>, PhantomData<&'a ()>);

impl Element {
    pub(super) fn new() -> Self {
        // SAFETY: allocates and has no precondition.
        Self(NonNull::new(unsafe { sys::nftnl_set_elem_alloc() }).expect("libnftnl allocates"))
    }

    pub(super) fn set_str(&mut self, attribute: Str<Self>, value: &str) {
        let value = c_string(value);
        // SAFETY: as for the objects above.
        unsafe { sys::nftnl_set_elem_set_str(self.0.as_ptr(), attribute.0, value.as_ptr()) };
    }

    pub(super) fn set_u32(&mut self, attribute: U32<Self>, value: u32) {
        // SAFETY: as for the objects above.
        unsafe { sys::nftnl_set_elem_set_u32(self.0.as_ptr(), attribute.0, value) };
    }

    pub(super) fn set_u64(&mut self, attribute: U64<Self>, value: u64) {
        // SAFETY: as for the objects above.
        unsafe { sys::nftnl_set_elem_set_u64(self.0.as_ptr(), attribute.0, value) };
    }

    pub(super) fn set_bytes(&mut self, attribute: Bytes<Self>, value: &[u8]) {
        assert!(value.len() <= attribute.1, "{} bytes do not fit", value.len());
        let (data, len) = (value.as_ptr().cast::<c_void>(), value.len() as u32);
        // SAFETY: as for the objects above; the key and data attributes are copied into buffers
        // of 64 bytes, which is what the check keeps to.
        unsafe { sys::nftnl_set_elem_set(self.0.as_ptr(), attribute.0, data, len) };
    }

    pub(super) fn as_ptr(&self) -> *mut sys::nftnl_set_elem {
        self.0.as_ptr()
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        // SAFETY: the element is live, ours alone (it was given to no set), and not used again.
        unsafe { sys::nftnl_set_elem_free(self.0.as_ptr()) };
    }
}

impl ElementRef<'_> {
    pub(super) fn str(&self, attribute: Str<Element>) -> Option<String> {
        // SAFETY: the set that owns the element is borrowed; the string is copied.
        unsafe { copy_c_string(sys::nftnl_set_elem_get_str(self.0.as_ptr(), attribute.0)) }
    }

    pub(super) fn u32(&self, attribute: U32<Element>) -> Option<u32> {
        // SAFETY: the set that owns the element is borrowed.
        unsafe {
            sys::nftnl_set_elem_is_set(self.0.as_ptr(), attribute.0)
                .then(|| sys::nftnl_set_elem_get_u32(self.0.as_ptr(), attribute.0))
        }
    }

    pub(super) fn u64(&self, attribute: U64<Element>) -> Option<u64> {
        // SAFETY: the set that owns the element is borrowed.
        unsafe {
            sys::nftnl_set_elem_is_set(self.0.as_ptr(), attribute.0)
                .then(|| sys::nftnl_set_elem_get_u64(self.0.as_ptr(), attribute.0))
        }
    }

    pub(super) fn bytes(&self, attribute: Bytes<Element>) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: the set that owns the element is borrowed, and so are the bytes.
        unsafe {
            let data = sys::nftnl_set_elem_get(self.0.as_ptr(), attribute.0, &mut len);
            slice(data, len)
        }
    }
}

impl Expression {
    /// An expression by its name in the kernel, or `None` where libnftnl does not know it.
    pub(super) fn new(name: &str) -> Option<Self> {
        let name = c_string(name);
        // SAFETY: the name ends with a zero and is only read.
        NonNull::new(unsafe { sys::nftnl_expr_alloc(name.as_ptr()) }).map(Self)
    }

    pub(super) fn set_str(&mut self, attribute: Str<Self>, value: &str) {
        let value = c_string(value);
        // SAFETY: as for the objects above.
        unsafe { sys::nftnl_expr_set_str(self.0.as_ptr(), attribute.0, value.as_ptr()) };
    }

    pub(super) fn set_u32(&mut self, attribute: U32<Self>, value: u32) {
        // SAFETY: as for the objects above.
        unsafe { sys::nftnl_expr_set_u32(self.0.as_ptr(), attribute.0, value) };
    }

    pub(super) fn set_u64(&mut self, attribute: U64<Self>, value: u64) {
        // SAFETY: as for the objects above.
        unsafe { sys::nftnl_expr_set_u64(self.0.as_ptr(), attribute.0, value) };
    }

    pub(super) fn set_u8(&mut self, attribute: U8<Self>, value: u8) {
        // SAFETY: as for the objects above.
        unsafe { sys::nftnl_expr_set_u8(self.0.as_ptr(), attribute.0, value) };
    }

    pub(super) fn set_bytes(&mut self, attribute: Bytes<Self>, value: &[u8]) {
        assert!(value.len() <= attribute.1, "{} bytes do not fit", value.len());
        let (data, len) = (value.as_ptr().cast::<c_void>(), value.len() as u32);
        // SAFETY: as for the objects above; the attributes are copied into buffers of 64 bytes.
        unsafe { sys::nftnl_expr_set(self.0.as_ptr(), attribute.0, data, len) };
    }

    fn into_raw(self) -> *mut sys::nftnl_expr {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // SAFETY: the expression is live and no rule or set has taken it.
        unsafe { sys::nftnl_expr_free(self.0.as_ptr()) };
    }
}

impl ExpressionRef<'_> {
    pub(super) fn name(&self) -> String {
        self.str(attribute::expression::NAME).unwrap_or_default()
    }

    pub(super) fn str(&self, attribute: Str<Expression>) -> Option<String> {
        // SAFETY: the owner of the expression is borrowed; the string is copied.
        unsafe {
            sys::nftnl_expr_is_set(self.0.as_ptr(), attribute.0)
                .then(|| copy_c_string(sys::nftnl_expr_get_str(self.0.as_ptr(), attribute.0)))?
        }
    }

    pub(super) fn u32(&self, attribute: U32<Expression>) -> Option<u32> {
        // SAFETY: the owner of the expression is borrowed.
        unsafe {
            sys::nftnl_expr_is_set(self.0.as_ptr(), attribute.0)
                .then(|| sys::nftnl_expr_get_u32(self.0.as_ptr(), attribute.0))
        }
    }

    pub(super) fn u8(&self, attribute: U8<Expression>) -> Option<u8> {
        // SAFETY: the owner of the expression is borrowed.
        unsafe {
            sys::nftnl_expr_is_set(self.0.as_ptr(), attribute.0)
                .then(|| sys::nftnl_expr_get_u8(self.0.as_ptr(), attribute.0))
        }
    }

    pub(super) fn u64(&self, attribute: U64<Expression>) -> Option<u64> {
        // SAFETY: the owner of the expression is borrowed.
        unsafe {
            sys::nftnl_expr_is_set(self.0.as_ptr(), attribute.0)
                .then(|| sys::nftnl_expr_get_u64(self.0.as_ptr(), attribute.0))
        }
    }

    pub(super) fn bytes(&self, attribute: Bytes<Expression>) -> Option<&[u8]> {
        let mut len = 0;
        // SAFETY: the owner of the expression is borrowed, and so are the bytes.
        unsafe {
            let data = sys::nftnl_expr_get(self.0.as_ptr(), attribute.0, &mut len);
            slice(data, len)
        }
    }

    /// The expression as `nft --debug=netlink` shows it.
    pub(super) fn text(&self) -> String {
        let mut buffer = [0u8; 512];
        let (data, len) = (buffer.as_mut_ptr().cast::<c_char>(), buffer.len());
        // SAFETY: the owner of the expression is borrowed; at most `len` bytes are written, the
        // last of them zero.
        unsafe { sys::nftnl_expr_snprintf(data, len, self.0.as_ptr(), 0, 0) };
        let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_string_lossy();
        format!("{} {}", self.name(), text.trim()).trim_end().to_owned()
    }
}

impl Rule {
    pub(super) fn set_u64(&mut self, attribute: U64<Self>, value: u64) {
        // SAFETY: the rule is live and ours alone, and the attribute is one of its 64-bit
        // attributes.
        unsafe { sys::nftnl_rule_set_u64(self.0.as_ptr(), attribute.0, value) };
    }

    pub(super) fn u64(&self, attribute: U64<Self>) -> Option<u64> {
        // SAFETY: the rule is live and the attribute is one of its 64-bit attributes.
        unsafe {
            sys::nftnl_rule_is_set(self.0.as_ptr(), attribute.0)
                .then(|| sys::nftnl_rule_get_u64(self.0.as_ptr(), attribute.0))
        }
    }

    /// Appends an expression.
    pub(super) fn push(&mut self, expression: Expression) {
        // SAFETY: both are live; from now on the rule owns the expression.
        unsafe { sys::nftnl_rule_add_expr(self.0.as_ptr(), expression.into_raw()) };
    }

    /// Calls `each` with the expressions in order.
    pub(super) fn for_each_expression(&self, mut each: impl FnMut(ExpressionRef<'_>)) {
        // SAFETY: the rule is borrowed for as long as the iterator lives, and what it yields does
        // not leave `each`.
        unsafe {
            let iterator = sys::nftnl_expr_iter_create(self.0.as_ptr());
            while let Some(raw) = NonNull::new(sys::nftnl_expr_iter_next(iterator)) {
                each(ExpressionRef(raw, PhantomData));
            }
            sys::nftnl_expr_iter_destroy(iterator);
        }
    }

    /// Reads a message of a dump of rules.
    pub(super) fn parse(message: &AlignedMessage<'_>) -> Option<Self> {
        let rule = Self::new();
        // SAFETY: the message is complete and aligned, and the rule is live and ours alone.
        (unsafe { sys::nftnl_rule_nlmsg_parse(message.header(), rule.0.as_ptr()) } >= 0)
            .then_some(rule)
    }

    /// Writes the rule into a message.
    pub(super) fn write(&mut self, message: &mut MessageWriter<'_>) {
        // SAFETY: a message has room for 128 KiB, far more than any object of weir's takes, and the rule is live.
        unsafe { sys::nftnl_rule_nlmsg_build_payload(message.header.as_ptr(), self.0.as_ptr()) };
    }
}

impl Table {
    /// Reads a message of a dump of tables.
    pub(super) fn parse(message: &AlignedMessage<'_>) -> Option<Self> {
        let table = Self::new();
        // SAFETY: the message is complete and aligned, and the table is live and ours alone.
        (unsafe { sys::nftnl_table_nlmsg_parse(message.header(), table.0.as_ptr()) } >= 0)
            .then_some(table)
    }

    /// Writes the table into a message.
    pub(super) fn write(&mut self, message: &mut MessageWriter<'_>) {
        // SAFETY: a message has room for 128 KiB, far more than any object of weir's takes, and the table is live.
        unsafe { sys::nftnl_table_nlmsg_build_payload(message.header.as_ptr(), self.0.as_ptr()) };
    }
}

impl Chain {
    /// Reads a message of a dump of chains.
    pub(super) fn parse(message: &AlignedMessage<'_>) -> Option<Self> {
        let chain = Self::new();
        // SAFETY: the message is complete and aligned, and the chain is live and ours alone.
        (unsafe { sys::nftnl_chain_nlmsg_parse(message.header(), chain.0.as_ptr()) } >= 0)
            .then_some(chain)
    }

    /// Writes the chain into a message.
    pub(super) fn write(&mut self, message: &mut MessageWriter<'_>) {
        // SAFETY: a message has room for 128 KiB, far more than any object of weir's takes, and the chain is live.
        unsafe { sys::nftnl_chain_nlmsg_build_payload(message.header.as_ptr(), self.0.as_ptr()) };
    }
}

impl Set {
    pub(super) fn u64(&self, attribute: U64<Self>) -> Option<u64> {
        // SAFETY: the set is live and the attribute is one of its 64-bit attributes.
        unsafe {
            sys::nftnl_set_is_set(self.0.as_ptr(), attribute.0)
                .then(|| sys::nftnl_set_get_u64(self.0.as_ptr(), attribute.0))
        }
    }

    /// Attaches this expression to every element of the set.
    pub(super) fn push(&mut self, expression: Expression) {
        // SAFETY: both are live; from now on the set owns the expression.
        unsafe { sys::nftnl_set_add_expr(self.0.as_ptr(), expression.into_raw()) };
    }

    /// The only expression that every element has as its state.
    pub(super) fn element_expression(&self) -> Option<ExpressionRef<'_>> {
        let attribute = sys::NFTNL_SET_EXPR as u16;
        // SAFETY: the set is live; the attribute is a pointer to an expression that it owns.
        unsafe {
            if !sys::nftnl_set_is_set(self.0.as_ptr(), attribute) {
                return None;
            }
            let raw = sys::nftnl_set_get(self.0.as_ptr(), attribute);
            NonNull::new(raw.cast_mut().cast()).map(|raw| ExpressionRef(raw, PhantomData))
        }
    }

    /// Reads a message of a dump of sets.
    pub(super) fn parse(message: &AlignedMessage<'_>) -> Option<Self> {
        let set = Self::new();
        // SAFETY: the message is complete and aligned, and the set is live and ours alone.
        (unsafe { sys::nftnl_set_nlmsg_parse(message.header(), set.0.as_ptr()) } >= 0)
            .then_some(set)
    }

    /// Reads a message of a dump of elements.
    pub(super) fn parse_elements(message: &AlignedMessage<'_>) -> Option<Self> {
        let set = Self::new();
        // SAFETY: the message is complete and aligned, and the set is live and ours alone.
        (unsafe { sys::nftnl_set_elems_nlmsg_parse(message.header(), set.0.as_ptr()) } >= 0)
            .then_some(set)
    }

    /// Calls `each` with the elements in the kernel's order.
    pub(super) fn for_each_element(&self, mut each: impl FnMut(ElementRef<'_>)) {
        // SAFETY: the set is borrowed for as long as the iterator lives, and what it yields does
        // not leave `each`.
        unsafe {
            // The library's constructor answers null where the set has no elements.
            let iterator = sys::nftnl_set_elems_iter_create(self.0.as_ptr());
            if iterator.is_null() {
                return;
            }
            while let Some(raw) = NonNull::new(sys::nftnl_set_elems_iter_next(iterator)) {
                each(ElementRef(raw, PhantomData));
            }
            sys::nftnl_set_elems_iter_destroy(iterator);
        }
    }

    /// Writes the set's definition into a message.
    pub(super) fn write(&mut self, message: &mut MessageWriter<'_>) {
        // SAFETY: a message has room for 128 KiB, far more than any object of weir's takes, and the set is live.
        unsafe { sys::nftnl_set_nlmsg_build_payload(message.header.as_ptr(), self.0.as_ptr()) };
    }
}

/// A netlink message as it came from the kernel, whose header is aligned and whose length field
/// does not exceed its bytes.
pub(super) struct AlignedMessage<'a>(&'a [u8]);

impl<'a> AlignedMessage<'a> {
    /// Checks the promises of the type; `mnl::NlMessages` yields only messages that keep them.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.as_ptr().cast::<libc::nlmsghdr>();
        let length = u32::from_ne_bytes(bytes.first_chunk().copied()?) as usize;
        let holds_header = bytes.len() >= size_of::<libc::nlmsghdr>();
        (header.is_aligned() && holds_header && length <= bytes.len()).then_some(Self(bytes))
    }

    /// The message.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.0
    }

    fn header(&self) -> *const libc::nlmsghdr {
        self.0.as_ptr().cast()
    }
}

fn c_string(value: &str) -> CString {
    // Names come from weir itself and comments from names of Kubernetes objects; none holds a
    // zero, but a foreign one would only be cut.
    let end = value.find('\0').unwrap_or(value.len());
    CString::new(&value[..end]).expect("the text was cut before its first zero byte")
}

/// # Safety
/// `text` is null or points to a string that ends with a zero.
unsafe fn copy_c_string(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// # Safety
/// `data` is null or points to `len` bytes that live and stay unchanged for `'a`.
unsafe fn slice<'a>(data: *const c_void, len: u32) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!data.is_null())
        .then(|| unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len as usize) })
}
