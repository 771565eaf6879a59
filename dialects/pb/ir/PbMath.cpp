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

template <typename AnyOp> static LogicalResult verifyDim(AnyOp op) {
  int64_t rank = cast<RankedTensorType>(op.getResult().getType()).getRank();
  int64_t dim = op.getDim();
  if (dim >= 0 && dim < rank)
    return success();
  return op.emitOpError("dimension ") << dim << " is out of range for rank " << rank;
}

LogicalResult CumulativeSumOp::verify() { return verifyDim(*this); }
LogicalResult CumulativeProductOp::verify() { return verifyDim(*this); }
LogicalResult CumulativeLogsumexpOp::verify() { return verifyDim(*this); }
LogicalResult LinearRecurrenceOp::verify() { return verifyDim(*this); }

} // namespace pb
