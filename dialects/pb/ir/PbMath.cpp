// Result types of the ops in PbMath.td.
#include "Pb.h"

using namespace mlir;

namespace pb {

LogicalResult BitcastOp::inferReturnTypes(MLIRContext *context, std::optional<Location>,
                                          Adaptor op, SmallVectorImpl<Type> &types) {
  auto type = cast<RankedTensorType>(op.getX().getType());
  unsigned width = type.getElementTypeBitWidth();
  Type other = IntegerType::get(context, width);
  if (type.getElementType().isInteger())
    other = width == 64 ? Type(Float64Type::get(context)) : Type(Float32Type::get(context));
  types.push_back(type.clone(other));
  return success();
}

} // namespace pb
