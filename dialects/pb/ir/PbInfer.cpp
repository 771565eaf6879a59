// Result types from operands and attributes: the one source of shapes, used by the builders and
// by the verifier. Attributes are checked here too, so that no malformed op gets a type.
#include "Pb.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;
using Shape = SmallVector<int64_t>;
using Loc = std::optional<Location>;
using Types = SmallVectorImpl<Type>;

static RankedTensorType tensor(Value value) { return cast<RankedTensorType>(value.getType()); }

/// `dims` name different dimensions of a tensor of this rank.
static LogicalResult checkDims(Loc loc, StringRef what, ArrayRef<int64_t> dims, int64_t rank) {
  llvm::SmallBitVector seen(rank);
  for (int64_t dim : dims) {
    if (dim < 0 || dim >= rank)
      return emitOptionalError(loc, what, " ", dim, " is out of range for rank ", rank);
    if (seen.test(dim))
      return emitOptionalError(loc, what, " ", dim, " is given twice");
    seen.set(dim);
  }
  return success();
}

static Shape without(ArrayRef<int64_t> shape, ArrayRef<int64_t> dims) {
  Shape kept;
  for (auto [dim, size] : llvm::enumerate(shape))
    if (!llvm::is_contained(dims, (int64_t)dim))
      kept.push_back(size);
  return kept;
}

namespace pb {

LogicalResult CompareOp::inferReturnTypes(MLIRContext *context, Loc loc, Adaptor op, Types &types) {
  types.push_back(tensor(op.getX()).clone(IntegerType::get(context, 1)));
  return success();
}

LogicalResult SelectOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto type = tensor(op.getOnTrue());
  if (type != op.getOnFalse().getType())
    return emitOptionalError(loc, "branches differ: ", type, " and ", op.getOnFalse().getType());
  if (tensor(op.getPred()).getShape() != type.getShape())
    return emitOptionalError(loc, "predicate ", op.getPred().getType(),
                             " has not the shape of the branches ", type);
  types.push_back(type);
  return success();
}

LogicalResult ConstantOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto type = dyn_cast<RankedTensorType>(op.getValue().getType());
  if (!type)
    return emitOptionalError(loc, "expected a tensor literal");
  types.push_back(type);
  return success();
}

LogicalResult TransposeOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto x = tensor(op.getX());
  auto permutation = op.getPermutation();
  if ((int64_t)permutation.size() != x.getRank())
    return emitOptionalError(loc, "permutation has ", permutation.size(), " entries for rank ",
                             x.getRank());
  if (failed(checkDims(loc, "permutation entry", permutation, x.getRank())))
    return failure();
  Shape shape;
  for (int64_t dim : permutation)
    shape.push_back(x.getDimSize(dim));
  types.push_back(x.clone(shape));
  return success();
}

LogicalResult ConcatenateOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  if (op.getXs().empty())
    return emitOptionalError(loc, "nothing to concatenate");
  auto first = tensor(op.getXs().front());
  int64_t dim = op.getDim();
  if (failed(checkDims(loc, "dimension", {dim}, first.getRank())))
    return failure();
  Shape shape(first.getShape());
  shape[dim] = 0;
  for (Value value : op.getXs()) {
    auto x = tensor(value);
    if (x.getElementType() != first.getElementType() || x.getRank() != first.getRank() ||
        without(x.getShape(), {dim}) != without(first.getShape(), {dim}))
      return emitOptionalError(loc, "cannot concatenate ", first, " and ", x, " along dimension ",
                               dim);
    shape[dim] += x.getDimSize(dim);
  }
  types.push_back(first.clone(shape));
  return success();
}

/// The type of what gather reads, which is also what scatter_add writes.
static LogicalResult inferGathered(Loc loc, RankedTensorType x, ValueRange indices,
                                   ArrayRef<int64_t> axes, int64_t batch, RankedTensorType &type) {
  if (indices.empty() || indices.size() != axes.size())
    return emitOptionalError(loc, indices.size(), " index tensors for ", axes.size(), " axes");
  auto index = tensor(indices.front());
  for (Value other : indices)
    if (tensor(other).getShape() != index.getShape())
      return emitOptionalError(loc, "index tensors differ in shape: ", index, " and ",
                               other.getType());
  if (failed(checkDims(loc, "axis", axes, x.getRank())))
    return failure();
  if (!llvm::is_sorted(axes) || batch < 0 || axes.front() < batch)
    return emitOptionalError(loc, "axes must ascend and come after the batch dimensions");
  if (index.getRank() < batch || index.getShape().take_front(batch) != x.getShape().take_front(batch))
    return emitOptionalError(loc, "batch dimensions of ", x, " and ", index, " differ");
  Shape shape(index.getShape());
  for (int64_t dim = batch; dim < x.getRank(); ++dim)
    if (!llvm::is_contained(axes, dim))
      shape.push_back(x.getDimSize(dim));
  for (int64_t axis : axes)
    if (x.getDimSize(axis) == 0 && index.getNumElements() != 0)
      return emitOptionalError(loc, "cannot index dimension ", axis, " of size 0");
  type = x.clone(shape);
  return success();
}

LogicalResult GatherOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  RankedTensorType type;
  if (failed(inferGathered(loc, tensor(op.getX()), op.getIndices(), op.getAxes(),
                           op.getBatchDims(), type)))
    return failure();
  types.push_back(type);
  return success();
}

/// x and updates as every scatter wants them; the result is another x.
template <typename Adaptor>
static LogicalResult inferScattered(Loc loc, Adaptor op, Types &types) {
  RankedTensorType type;
  if (failed(inferGathered(loc, tensor(op.getX()), op.getIndices(), op.getAxes(),
                           op.getBatchDims(), type)))
    return failure();
  if (type != op.getUpdates().getType())
    return emitOptionalError(loc, "updates should be ", type, ", not ", op.getUpdates().getType());
  types.push_back(op.getX().getType());
  return success();
}

LogicalResult ScatterAddOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  return inferScattered(loc, op, types);
}

LogicalResult ScatterOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  return inferScattered(loc, op, types);
}

LogicalResult ScatterMaxOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  return inferScattered(loc, op, types);
}

static LogicalResult inferPositions(Loc loc, Value value, int64_t dim, Types &types) {
  auto x = tensor(value);
  if (failed(checkDims(loc, "dimension", {dim}, x.getRank())))
    return failure();
  types.push_back(x.clone(IntegerType::get(x.getContext(), 64)));
  return success();
}

LogicalResult ArgsortOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  return inferPositions(loc, op.getX(), op.getDim(), types);
}

LogicalResult CumulativeExtremumOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op,
                                                     Types &types) {
  return inferPositions(loc, op.getX(), op.getDim(), types);
}

static LogicalResult inferReduced(Loc loc, Value value, ArrayRef<int64_t> dims, Types &types) {
  auto x = tensor(value);
  if (failed(checkDims(loc, "dimension", dims, x.getRank())))
    return failure();
  types.push_back(x.clone(without(x.getShape(), dims)));
  return success();
}

LogicalResult ReduceSumOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  return inferReduced(loc, op.getX(), op.getDims(), types);
}

LogicalResult ReduceMaxOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  return inferReduced(loc, op.getX(), op.getDims(), types);
}

LogicalResult DotGeneralOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto x = tensor(op.getX()), y = tensor(op.getY());
  if (x.getElementType() != y.getElementType())
    return emitOptionalError(loc, "element types differ: ", x, " and ", y);
  Shape shape, used[2];
  auto pair = [&](StringRef what, ArrayRef<int64_t> xs, ArrayRef<int64_t> ys) -> LogicalResult {
    if (xs.size() != ys.size())
      return emitOptionalError(loc, xs.size(), " and ", ys.size(), " ", what, " dimensions");
    used[0].append(xs.begin(), xs.end());
    used[1].append(ys.begin(), ys.end());
    if (failed(checkDims(loc, "dimension of x", used[0], x.getRank())) ||
        failed(checkDims(loc, "dimension of y", used[1], y.getRank())))
      return failure();
    for (auto [i, j] : llvm::zip(xs, ys))
      if (x.getDimSize(i) != y.getDimSize(j))
        return emitOptionalError(loc, what, " dimensions differ: ", x.getDimSize(i), " of ", x,
                                 " and ", y.getDimSize(j), " of ", y);
    return success();
  };
  if (failed(pair("batch", op.getXBatch(), op.getYBatch())) ||
      failed(pair("contracted", op.getXContract(), op.getYContract())))
    return failure();
  for (int64_t dim : op.getXBatch())
    shape.push_back(x.getDimSize(dim));
  shape.append(without(x.getShape(), used[0]));
  shape.append(without(y.getShape(), used[1]));
  types.push_back(x.clone(shape));
  return success();
}

// -- ops with a written result type ------------------------------------------------

LogicalResult CompareOp::verify() {
  if (!llvm::is_contained({"eq", "ne", "lt", "le", "gt", "ge"}, getPredicate()))
    return emitOpError("unknown predicate \"") << getPredicate() << "\"";
  return success();
}

LogicalResult ConvertOp::verify() {
  if (tensor(getX()).getShape() != tensor(getResult()).getShape())
    return emitOpError("changes the shape: ") << getX().getType() << " to " << getType();
  return success();
}

LogicalResult IotaOp::verify() {
  return checkDims(getLoc(), "'pb.iota' op dimension", {(int64_t)getDim()},
                   tensor(getResult()).getRank());
}

LogicalResult BasisOp::verify() {
  auto shape = tensor(getResult()).getShape();
  if (shape.empty() || shape.front() != ShapedType::getNumElements(shape.drop_front()))
    return emitOpError("needs one example for each element of the rest of its shape, has ")
           << getType();
  return success();
}

LogicalResult BroadcastOp::verify() {
  auto x = tensor(getX()), result = tensor(getResult());
  auto dims = getDims();
  if ((int64_t)dims.size() != x.getRank() || x.getElementType() != result.getElementType())
    return emitOpError("cannot broadcast ") << x << " to " << result << " by " << dims.size()
                                            << " dimensions";
  if (failed(checkDims(getLoc(), "'pb.broadcast' op dimension", dims, result.getRank())))
    return failure();
  if (!llvm::is_sorted(dims))
    return emitOpError("dimensions must ascend");
  for (auto [i, dim] : llvm::enumerate(dims))
    if (x.getDimSize(i) != result.getDimSize(dim))
      return emitOpError("dimension ") << i << " of " << x << " does not fit dimension " << dim
                                       << " of " << result;
  return success();
}

LogicalResult ReshapeOp::verify() {
  auto x = tensor(getX()), result = tensor(getResult());
  if (x.getElementType() != result.getElementType() ||
      x.getNumElements() != result.getNumElements())
    return emitOpError("cannot reshape ") << x << " to " << result;
  return success();
}

/// The positions offsets + i * strides, i below the sizes of `part`, lie inside `whole`.
static LogicalResult verifyPart(Operation *op, RankedTensorType part, RankedTensorType whole,
                                ArrayRef<int64_t> offsets, ArrayRef<int64_t> strides) {
  int64_t rank = whole.getRank();
  if (part.getRank() != rank || (int64_t)offsets.size() != rank ||
      (int64_t)strides.size() != rank || part.getElementType() != whole.getElementType())
    return op->emitOpError("ranks or element types differ: ") << part << " in " << whole;
  for (int64_t dim = 0; dim < rank; ++dim) {
    int64_t size = part.getDimSize(dim);
    if (offsets[dim] < 0 || strides[dim] < 1 || offsets[dim] > whole.getDimSize(dim))
      return op->emitOpError("bad offset or stride in dimension ") << dim;
    if (size > 0 && (size - 1) > (whole.getDimSize(dim) - 1 - offsets[dim]) / strides[dim])
      return op->emitOpError("dimension ") << dim << " of " << part << " leaves " << whole;
    if (size > 0 && offsets[dim] >= whole.getDimSize(dim))
      return op->emitOpError("dimension ") << dim << " of " << part << " leaves " << whole;
  }
  return success();
}

LogicalResult SliceOp::verify() {
  return verifyPart(*this, tensor(getResult()), tensor(getX()), getOffsets(), getStrides());
}

LogicalResult PadOp::verify() {
  auto value = tensor(getValue());
  if (value.getRank() != 0 || value.getElementType() != tensor(getX()).getElementType())
    return emitOpError("padding value should be a scalar of the operand's element type, not ")
           << value;
  return verifyPart(*this, tensor(getX()), tensor(getResult()), getOffsets(), getStrides());
}

LogicalResult BarrierOp::verify() {
  if (getXs().getTypes() != getResults().getTypes())
    return emitOpError("results must have the types of the operands");
  return success();
}

LogicalResult RandomBitsOp::verify() {
  if ((int64_t)getBits() < 1 || (int64_t)getBits() > 64)
    return emitOpError("has 1 to 64 bits, not ") << (int64_t)getBits();
  return success();
}

} // namespace pb
