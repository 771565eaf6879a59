// Verification of pb.conv; see PbConv.td for what the dimensions are.
#include "Pb.h"

using namespace mlir;

namespace pb {

LogicalResult ConvOp::verify() {
  auto x = cast<RankedTensorType>(getX().getType()), w = cast<RankedTensorType>(getW().getType());
  auto result = cast<RankedTensorType>(getResult().getType());
  int64_t rank = x.getRank();
  if (rank < 3 || w.getRank() != rank || result.getRank() != rank)
    return emitOpError("operands and result should have one rank, at least 3: ")
           << x << ", " << w << " and " << result;
  if (x.getElementType() != w.getElementType() || x.getElementType() != result.getElementType())
    return emitOpError("element types differ: ") << x << ", " << w << " and " << result;
  auto spatial = static_cast<size_t>(rank - 3);
  for (auto numbers : {getXSteps(), getWSteps(), getOutSteps(), getOffsets()})
    if (numbers.size() != spatial)
      return emitOpError("has ") << numbers.size() << " steps or offsets for " << spatial
                                 << " spatial dimensions";
  for (auto steps : {getXSteps(), getWSteps(), getOutSteps()})
    if (llvm::is_contained(steps, 0))
      return emitOpError("has a step of 0");
  if (x.getDimSize(0) != result.getDimSize(0) || x.getDimSize(1) != w.getDimSize(0) ||
      x.getDimSize(1) != result.getDimSize(1) || x.getDimSize(2) != w.getDimSize(2) ||
      w.getDimSize(1) != result.getDimSize(2))
    return emitOpError("batch, group or feature dimensions of ")
           << x << ", " << w << " and " << result << " do not fit";
  return success();
}

} // namespace pb
