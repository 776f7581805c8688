//! Every composed shader, checked without a GPU: it is valid, and it agrees with the Rust side.

use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use super::*;
use crate::gpu::kernels::{self, Access, Parameter};
use crate::gpu::pipeline::Constants;
use crate::plan::kernel::Role;
use crate::plan::octets::Octets;
use crate::plan::params::{ChunkParams, MAX_CHUNKS, SharedParams, StepParams, block_bytes};
use crate::plan::project::ProjectTile;
use crate::plan::quads::{Quads, STAGED};
use crate::plan::sequence::SequenceTile;
use crate::plan::step::StepTile;
use crate::plan::{project, sequence, shrink, step};

/// What WebGPU has without any feature: unpacking f16 is core.
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

/// A validator of what a kernel may use: some need subgroups, which not every device has.
fn validator(kernel: Kernel) -> Validator {
    let subgroups = [Kernel::ProjectOctets, Kernel::StepOctets, Kernel::StepRowLent].contains(&kernel);
    let capabilities = if subgroups { CAPABILITIES | Capabilities::SUBGROUP } else { CAPABILITIES };
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if subgroups {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    validator
}

fn parsed_with(precision: Precision, wave: bool) -> impl Iterator<Item = (Kernel, CellKind, naga::Module)> {
    let all = Kernel::ALL.into_iter().flat_map(|kernel| CellKind::ALL.map(|cell| (kernel, cell)));
    all.map(move |(kernel, cell)| {
        let source = source(kernel, cell, precision, wave);
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&source)));
        (kernel, cell, module)
    })
}

fn parsed() -> impl Iterator<Item = (Kernel, CellKind, naga::Module)> {
    parsed_with(Precision::F32, false).chain(parsed_with(Precision::F16, false))
}

#[test]
fn every_combination_is_valid() {
    for (kernel, cell, module) in parsed().chain(parsed_with(Precision::F32, true)) {
        validator(kernel).validate(&module).unwrap_or_else(|e| panic!("{kernel:?} {cell:?}: {e:?}"));
        assert!(module.entry_points.iter().any(|e| e.name == entry_point(kernel)));
    }
}

#[test]
fn bindings_are_those_of_the_rust_side() {
    let waves = parsed_with(Precision::F32, true).map(|parsed| (parsed, true));
    for ((kernel, cell, module), wave) in parsed().map(|parsed| (parsed, false)).chain(waves) {
        let info = validator(kernel).validate(&module).unwrap();
        let at = module.entry_points.iter().position(|e| e.name == entry_point(kernel)).unwrap();
        let entry = info.get_entry_point(at);
        let (mut storage, mut params) = (Vec::new(), Vec::new());
        for (handle, global) in module.global_variables.iter() {
            let Some(binding) = global.binding.filter(|_| !entry[handle].is_empty()) else { continue };
            let at = binding.binding as usize;
            match (binding.group, global.space) {
                (0, naga::AddressSpace::Storage { access }) => {
                    let write = access.contains(naga::StorageAccess::STORE);
                    storage.push((at, if write { Access::ReadWrite } else { Access::Read }));
                }
                (1, naga::AddressSpace::Storage { access }) => {
                    assert!(!access.contains(naga::StorageAccess::STORE));
                    params.push((at, Parameter::Call));
                }
                (1, naga::AddressSpace::Uniform) => {
                    let bytes = module.types[global.ty].inner.size(module.to_ctx()) as usize;
                    params.push((at, Parameter::Block(bytes)));
                }
                other => panic!("{other:?}"),
            }
        }
        storage.sort_by_key(|&(binding, _)| binding);
        params.sort_by_key(|&(binding, _)| binding);
        let expected: Vec<_> = kernels::storage_access(kernel.role(), cell).into_iter().enumerate().collect();
        assert_eq!(storage, expected, "{kernel:?}");
        let expected: Vec<_> = kernels::parameters(kernel, wave).enumerate().collect();
        assert_eq!(params, expected, "{kernel:?}");
        let blocks = params.iter().filter(|(_, parameter)| matches!(parameter, Parameter::Block(_))).count();
        assert_eq!(blocks, kernels::block_count(kernel));
    }
}

/// Names, offsets and sizes of the parameter structs.
#[test]
fn parameter_blocks_are_laid_out_as_in_rust() {
    // The fields of a Rust struct of u32, in order, out of its Debug form.
    fn fields(debug: String) -> Vec<String> {
        let inside = debug.split_once('{').unwrap().1.trim_end_matches('}');
        inside.split(',').map(|field| field.split(':').next().unwrap().trim().to_owned()).collect()
    }
    let mut shared = fields(format!("{:?}", <SharedParams as bytemuck::Zeroable>::zeroed()));
    shared.push("chunks".to_owned());
    let rust = [
        ("Params", block_bytes(1), shared),
        ("Chunk", size_of::<ChunkParams>(), fields(format!("{:?}", <ChunkParams as bytemuck::Zeroable>::zeroed()))),
        ("Step", size_of::<StepParams>(), fields(format!("{:?}", <StepParams as bytemuck::Zeroable>::zeroed()))),
    ];
    for (kernel, _, module) in parsed() {
        for (name, size, fields) in &rust {
            let Some((_, ty)) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)) else {
                panic!("no struct {name} in {kernel:?}")
            };
            let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("{name} is no struct") };
            let shader: Vec<_> = members.iter().map(|m| (m.name.clone().unwrap(), m.offset as usize)).collect();
            let expected: Vec<_> = fields.iter().cloned().zip((0..).map(|i| i * 4)).collect();
            assert_eq!((&shader, *span as usize), (&expected, *size), "{name}");
        }
    }
}

/// The value of a module-level `const`.
fn constant(module: &naga::Module, name: &str) -> usize {
    let (_, constant) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name)).unwrap();
    match module.global_expressions[constant.init] {
        naga::Expression::Literal(naga::Literal::U32(value)) => value as usize,
        ref other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn tile_constants_are_those_of_the_plan() {
    for (kernel, _, module) in parsed() {
        match kernel {
            Kernel::Project => {
                let tile = ProjectTile::Tiled;
                assert_eq!(constant(&module, "TILE_UNITS"), tile.units());
                assert_eq!(constant(&module, "TILE_ROWS"), tile.rows());
                assert_eq!(constant(&module, "TILE_K"), project::TILE_K);
                assert_eq!(module.entry_points[0].workgroup_size, tile.workgroup());
            }
            Kernel::Step | Kernel::ProjectQuads => assert_eq!(constant(&module, "STAGED"), STAGED),
            Kernel::StepWide => {
                assert_eq!(constant(&module, "STAGED"), STAGED);
                assert_eq!(constant(&module, "SPLIT"), step::WIDE_SPLIT as usize);
            }
            Kernel::StepRow | Kernel::StepRowLent | Kernel::StepOctets | Kernel::ProjectOctets => {}
            Kernel::Sequence => assert_eq!(constant(&module, "ROWS_OF_LINE"), sequence::ROWS_OF_LINE),
            Kernel::Shrink => {
                assert_eq!(constant(&module, "TILE_VALUES"), shrink::TILE_VALUES);
                assert_eq!(constant(&module, "TILE_ROWS"), shrink::TILE_ROWS);
                assert_eq!(module.entry_points[0].workgroup_size, shrink::WORKGROUP);
            }
        }
    }
}

/// How weights are packed.
#[test]
fn blocks_of_units_are_those_of_the_host() {
    for (_, _, module) in parsed() {
        assert_eq!(constant(&module, "BLOCK"), crate::plan::WEIGHT_BLOCK);
    }
}

#[test]
fn a_wave_has_the_chunks_of_the_plan() {
    for (_, _, module) in parsed_with(Precision::F32, true) {
        assert_eq!(constant(&module, "CHUNKS"), MAX_CHUNKS);
    }
}

#[test]
fn override_constants_are_those_of_the_rust_side() {
    let project = |tile| Constants::Project { tile, dropout: true };
    let step = |tile| Constants::Step { tile, projected: false };
    let quads = Quads { units: 16, quads: 4, split: 4 };
    for (kernel, _, module) in parsed() {
        let constants = match kernel {
            Kernel::Project => project(ProjectTile::Tiled),
            Kernel::ProjectOctets => project(ProjectTile::Octets(Octets::of_rows(16, 4))),
            Kernel::ProjectQuads => project(ProjectTile::Quads(quads)),
            Kernel::Step => step(StepTile::Quads(quads)),
            Kernel::StepRow => step(StepTile::Row { units: 8, split: 32 }),
            Kernel::StepRowLent => step(StepTile::RowLent { units: 32 }),
            Kernel::StepWide => step(StepTile::Wide { units: 8, octets: 4 }),
            Kernel::StepOctets => step(StepTile::Octets(Octets::of_rows(16, 4))),
            Kernel::Sequence => Constants::Sequence(SequenceTile { units: 16, split: 1, held: true }),
            Kernel::Shrink => Constants::None,
        };
        let declared: Vec<_> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        assert_eq!(declared, constants.overrides().iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{kernel:?}");
    }
}

/// The host packs G floats a unit. WGSL would lay out an array of vec3 in steps of four.
#[test]
fn packed_gates_are_as_wide_as_the_host_packs_them() {
    for precision in [Precision::F32, Precision::F16] {
        parsed_with(precision, false)
            .for_each(|(kernel, cell, module)| check_packing(precision, kernel, cell, &module));
    }
}

fn check_packing(precision: Precision, kernel: Kernel, cell: CellKind, module: &naga::Module) {
    let mut seen = 0;
    for (_, global) in module.global_variables.iter() {
        let name = global.name.as_deref().unwrap_or_default();
        let naga::TypeInner::Array { stride, .. } = module.types[global.ty].inner else { continue };
        if ["b_ih", "b_hh", "gx"].contains(&name) {
            assert_eq!(stride as usize, cell.gates() * size_of::<f32>(), "{name} of {kernel:?} {cell:?}");
            seen += 1;
        }
        if ["w_ih", "w_hh"].contains(&name) {
            let words = crate::gpu::weights::words(cell.gates(), precision);
            assert_eq!(stride as usize, words * size_of::<u32>(), "{name} of {kernel:?} {cell:?}");
            seen += 1;
        }
        if ["w_tile", "partial", "sums_of_rows"].contains(&name) {
            assert_eq!(stride as usize, cell.workgroup_floats() * size_of::<f32>(), "{name} of {kernel:?} {cell:?}");
            seen += 1;
        }
    }
    let of_role = match kernel.role() {
        Role::InputProduct | Role::Recurrence => 3,
        Role::Projection => 0,
    };
    let in_workgroup = usize::from(![Kernel::StepRowLent, Kernel::Shrink].contains(&kernel));
    assert_eq!(seen, of_role + in_workgroup, "{kernel:?} {cell:?}");
}
