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

LogicalResult CumulativeSumOp::verify() {
  int64_t rank = cast<RankedTensorType>(getX().getType()).getRank();
  if ((int64_t)getDim() >= 0 && (int64_t)getDim() < rank)
    return success();
  return emitOpError("dimension ") << (int64_t)getDim() << " is out of range for rank " << rank;
}

} // namespace pb
