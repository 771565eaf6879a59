// The dialect, its registration in the Python process and in mlir-opt, and constants.
#include "Pb.h"
#include "mlir/CAPI/IR.h"
#include "mlir/Tools/Plugins/DialectPlugin.h"

using namespace mlir;

#pragma GCC visibility push(hidden)
#include "PbDialect.cpp.inc"
#define GET_OP_CLASSES
#include "PbOps.cpp.inc"
#pragma GCC visibility pop

void pb::PbDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "PbOps.cpp.inc"
      >();
}

Operation *pb::PbDialect::materializeConstant(OpBuilder &builder, Attribute value, Type type,
                                              Location location) {
  auto elements = dyn_cast<ElementsAttr>(value);
  if (!elements || elements.getType() != type)
    return nullptr;
  return ConstantOp::create(builder, location, type, elements);
}

OpFoldResult pb::ConstantOp::fold(FoldAdaptor) { return getValue(); }

// Entry of the Python process: the capsule of mlir.ir.DialectRegistry, unwrapped.
extern "C" __attribute__((visibility("default"))) void pb_register(MlirDialectRegistry registry) {
  unwrap(registry)->insert<pb::PbDialect>();
}

// Entry of mlir-opt --load-dialect-plugin.
extern "C" __attribute__((visibility("default"))) DialectPluginLibraryInfo
mlirGetDialectPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "pb", "1",
          [](DialectRegistry *registry) { registry->insert<pb::PbDialect>(); }};
}
