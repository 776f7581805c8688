// Dropout of what a layer reads (Srivastava et al. 2014; `dropout` of torch.nn.LSTM): an element is 0 with probability
// p, else scaled by 1/(1-p).
//
// Random bits are a function of a key and the element's place, so that the mask is the same on every device and in
// whatever order elements are read: Threefry-2x32 of 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy
// as 1, 2, 3"). The host makes a key for each layer and call. The CPU twin is src/dropout.rs.
//
// Needs: `chunk`, `call_words` from base/params.wgsl; `is_nan` from base/numeric.wgsl.

fn rotate(x: u32, bits: u32) -> u32 {
    return (x << bits) | (x >> (32u - bits));
}

fn mix(x: vec2<u32>, bits: u32) -> vec2<u32> {
    let sum = x.x + x.y;
    return vec2<u32>(sum, rotate(x.y, bits) ^ sum);
}

fn even_rounds(x: vec2<u32>) -> vec2<u32> {
    return mix(mix(mix(mix(x, 13u), 15u), 26u), 6u);
}

fn odd_rounds(x: vec2<u32>) -> vec2<u32> {
    return mix(mix(mix(mix(x, 17u), 29u), 16u), 24u);
}

fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let parity = 0x1bd11bdau ^ key.x ^ key.y;
    var x = even_rounds(counter + key) + vec2<u32>(key.y, parity + 1u);
    x = odd_rounds(x) + vec2<u32>(parity, key.x + 2u);
    x = even_rounds(x) + vec2<u32>(key.x, key.y + 3u);
    x = odd_rounds(x) + vec2<u32>(key.y, parity + 4u);
    return even_rounds(x) + vec2<u32>(parity, key.x + 5u);
}

fn drop_out(value: f32, element: u32) -> f32 {
    let at = chunk.dropout_key;
    let bits = threefry(vec2<u32>(call_words[at], call_words[at + 1u]), vec2<u32>(element, 0u)).x;
    // As in PyTorch, which multiplies with 0, a NaN is not hidden by being dropped. Drivers may fold a product with 0.
    let dropped = select(0.0, value * chunk.dropout_scale, bits >= chunk.dropout_threshold);
    return select(dropped, value, is_nan(value));
}
