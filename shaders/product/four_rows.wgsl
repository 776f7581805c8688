// A register tile of one unit by four rows: each weight that an invocation loads is used four times, and the values of
// the four rows come as one vector.
//
// Needs: `Gates` from cell/.

/// The sums of one unit of four rows.
struct FourRows {
    r0: Gates,
    r1: Gates,
    r2: Gates,
    r3: Gates,
}

/// Adds w times the values of the four rows.
fn add_products(sum: ptr<function, FourRows>, rows: vec4<f32>, w: Gates) {
    (*sum).r0 += rows.x * w;
    (*sum).r1 += rows.y * w;
    (*sum).r2 += rows.z * w;
    (*sum).r3 += rows.w * w;
}
