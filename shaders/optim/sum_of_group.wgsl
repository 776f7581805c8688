// The sum over a workgroup, always in the same order.
//
// Needs: `INVOCATIONS` from optim/slot.wgsl.

var<workgroup> sums: array<f32, 256>;

fn sum_of_group(index: u32, value: f32) -> f32 {
    sums[index] = value;
    for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (index < half) {
            sums[index] += sums[index + half];
        }
    }
    workgroupBarrier();
    return sums[0];
}
