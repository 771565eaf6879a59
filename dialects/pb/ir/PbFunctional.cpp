// Checks of the ops that name functions or hold regions.
#include "Pb.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;

namespace pb {

ParseResult parseTypes(OpAsmParser &parser, SmallVectorImpl<Type> &types) {
  return parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Paren,
                                        [&] { return parser.parseType(types.emplace_back()); });
}

void printTypes(OpAsmPrinter &printer, Operation *, TypeRange types) {
  printer << '(';
  llvm::interleaveComma(types, printer);
  printer << ')';
}

static bool isFloat(Type type) {
  return isa<FloatType>(cast<RankedTensorType>(type).getElementType());
}

static SmallVector<Type> floats(TypeRange types) {
  return llvm::to_vector(llvm::make_filter_range(types, isFloat));
}

/// The function that `callee` names, or an error at `op`.
static FailureOr<FunctionOpInterface> lookup(Operation *op, FlatSymbolRefAttr callee,
                                             SymbolTableCollection &symbols) {
  auto function = symbols.lookupNearestSymbolFrom<FunctionOpInterface>(op, callee);
  if (!function)
    return op->emitOpError("names no function: ") << callee;
  return function;
}

static LogicalResult same(Operation *op, const Twine &what, TypeRange expected, TypeRange got) {
  if (expected == got)
    return success();
  InFlightDiagnostic error = op->emitOpError(what) << " should be (";
  llvm::interleaveComma(expected, error);
  error << "), not (";
  llvm::interleaveComma(got, error);
  return error << ")";
}

/// The operand types that `wrt` selects; an error if one cannot be differentiated.
static LogicalResult selectWrt(Operation *op, ArrayRef<int64_t> wrt, TypeRange primals,
                               SmallVectorImpl<Type> &selected) {
  int64_t last = -1;
  for (int64_t index : wrt) {
    if (index <= last || index >= (int64_t)primals.size())
      return op->emitOpError("wrt should list operands in ascending order");
    if (!isFloat(primals[index]))
      return op->emitOpError("operand ") << index << " of type " << primals[index]
                                         << " has no derivative";
    selected.push_back(primals[index]);
    last = index;
  }
  return success();
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto callee = lookup(*this, getCalleeAttr(), symbols);
  if (failed(callee) || failed(same(*this, "operands", callee->getArgumentTypes(), getArgs().getTypes())))
    return failure();
  return same(*this, "results", callee->getResultTypes(), getOuts().getTypes());
}

LogicalResult CustomCallOp::verify() {
  bool linear = getLinear().has_value() || getBackward().has_value();
  if (getForward().has_value() != linear)
    return emitOpError("forward goes with backward or linear");
  if (getJvpRule() && linear)
    return emitOpError("has either a jvp rule or a forward rule");
  if ((int64_t)getCaptured() < 0 || (int64_t)getCaptured() > (int64_t)getArgs().size())
    return emitOpError("captures ") << getCaptured() << " of " << getArgs().size() << " operands";
  int64_t last = -1;
  for (int64_t index : getDifferentiable()) {
    if (index <= last || index >= (int64_t)getOuts().size() || !isFloat(getOuts()[index].getType()))
      return emitOpError("differentiable should list floating-point results in ascending order");
    last = index;
  }
  return success();
}

/// The function `rule` takes `operands` and returns `results`, and after them whatever `rest` gets.
static LogicalResult verifyRule(Operation *op, StringRef what, FlatSymbolRefAttr rule,
                                SymbolTableCollection &symbols, TypeRange operands,
                                TypeRange results, SmallVectorImpl<Type> *rest = nullptr) {
  if (!rule)
    return success();
  auto function = lookup(op, rule, symbols);
  if (failed(function) ||
      failed(same(op, what + " operands", operands, function->getArgumentTypes())))
    return failure();
  TypeRange given(function->getResultTypes());
  if (rest && given.size() >= results.size()) {
    llvm::append_range(*rest, given.drop_front(results.size()));
    given = given.take_front(results.size());
  }
  return same(op, what + " results", results, given);
}

LogicalResult CustomCallOp::verifySymbolUses(SymbolTableCollection &symbols) {
  TypeRange args(getArgs().getTypes()), outs(getOuts().getTypes());
  SmallVector<Type> tangents = floats(args.drop_back(getCaptured())), moved;
  for (int64_t index : getDifferentiable())
    moved.push_back(outs[index]);
  auto joined = [](TypeRange first, TypeRange second) {
    SmallVector<Type> types(first);
    llvm::append_range(types, second);
    return types;
  };
  SmallVector<Type> pool = joined(args, outs), saved;
  if (failed(verifyRule(*this, "primal", getPrimalAttr(), symbols, args, outs)) ||
      failed(verifyRule(*this, "jvp", getJvpRuleAttr(), symbols, joined(args, tangents),
                        joined(outs, moved))) ||
      failed(verifyRule(*this, "forward", getForwardAttr(), symbols, args, outs, &pool)))
    return failure();
  for (int64_t index : getSaved()) {
    if (index < 0 || index >= (int64_t)pool.size())
      return emitOpError("saves value ") << index << " of " << pool.size();
    saved.push_back(pool[index]);
  }
  if (failed(verifyRule(*this, "linear", getLinearAttr(), symbols,
                        joined(saved, tangents), moved)))
    return failure();
  return verifyRule(*this, "backward", getBackwardAttr(), symbols, joined(saved, moved), tangents);
}

LogicalResult LinearCallOp::verify() {
  if (!getCallee() && !getTransposed())
    return emitOpError("names neither the function nor its transpose");
  return success();
}

LogicalResult LinearCallOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto after = [&](TypeRange types) {
    SmallVector<Type> operands(getResiduals().getTypes());
    llvm::append_range(operands, types);
    return operands;
  };
  TypeRange args(getArgs().getTypes()), outs(getOuts().getTypes());
  if (failed(verifyRule(*this, "callee", getCalleeAttr(), symbols, after(args), outs)))
    return failure();
  return verifyRule(*this, "transpose", getTransposedAttr(), symbols, after(outs), args);
}

/// One example of a batched type, or null.
static Type example(Type type, int64_t dim, int64_t size) {
  auto tensor = cast<RankedTensorType>(type);
  if (dim < 0 || dim >= tensor.getRank() || tensor.getDimSize(dim) != size)
    return {};
  SmallVector<int64_t> shape(tensor.getShape());
  shape.erase(shape.begin() + dim);
  return tensor.clone(shape);
}

LogicalResult VmapOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto callee = lookup(*this, getCalleeAttr(), symbols);
  if (failed(callee))
    return failure();
  int64_t size = getAxisSize();
  if (size < 0)
    return emitOpError("size of the batch is negative: ") << size;
  auto examples = [&](TypeRange types, ArrayRef<int64_t> dims, StringRef what,
                      bool shared, SmallVectorImpl<Type> &out) -> LogicalResult {
    if (dims.size() != types.size())
      return emitOpError() << dims.size() << " dimensions for " << types.size() << " " << what;
    for (auto [type, dim] : llvm::zip(types, dims)) {
      Type one = shared && dim == -1 ? type : example(type, dim, size);
      if (!one)
        return emitOpError(what) << " of type " << type << " cannot be batched by " << size
                                 << " at dimension " << dim;
      out.push_back(one);
    }
    return success();
  };
  SmallVector<Type> operands, results;
  if (failed(examples(getArgs().getTypes(), getInDims(), "operands", true, operands)) ||
      failed(examples(getOuts().getTypes(), getOutDims(), "results", false, results)) ||
      failed(same(*this, "operands of one example", callee->getArgumentTypes(), operands)))
    return failure();
  return same(*this, "results of one example", callee->getResultTypes(), results);
}

LogicalResult JvpOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto callee = lookup(*this, getCalleeAttr(), symbols);
  SmallVector<Type> tangents;
  if (failed(callee) ||
      failed(same(*this, "primals", callee->getArgumentTypes(), getPrimals().getTypes())) ||
      failed(selectWrt(*this, getWrt(), getPrimals().getTypes(), tangents)) ||
      failed(same(*this, "tangents", tangents, getTangents().getTypes())))
    return failure();
  SmallVector<Type> results(callee->getResultTypes());
  llvm::append_range(results, floats(callee->getResultTypes()));
  return same(*this, "results", results, getOuts().getTypes());
}

LogicalResult VjpOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto callee = lookup(*this, getCalleeAttr(), symbols);
  SmallVector<Type> bars;
  if (failed(callee) ||
      failed(same(*this, "primals", callee->getArgumentTypes(), getPrimals().getTypes())) ||
      failed(same(*this, "cotangents", floats(callee->getResultTypes()), getCotangents().getTypes())) ||
      failed(selectWrt(*this, getWrt(), getPrimals().getTypes(), bars)))
    return failure();
  SmallVector<Type> results(callee->getResultTypes());
  llvm::append_range(results, bars);
  return same(*this, "results", results, getOuts().getTypes());
}

LogicalResult LinearTransposeOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto callee = lookup(*this, getCalleeAttr(), symbols);
  if (failed(callee))
    return failure();
  TypeRange arguments = callee->getArgumentTypes();
  size_t residuals = getResiduals().size();
  if (arguments.size() < residuals)
    return emitOpError("more residuals than the callee has arguments");
  if (failed(same(*this, "residuals", arguments.take_front(residuals), getResiduals().getTypes())) ||
      failed(same(*this, "cotangents", callee->getResultTypes(), getCotangents().getTypes())))
    return failure();
  return same(*this, "results", arguments.drop_front(residuals), getOuts().getTypes());
}

// -- regions -----------------------------------------------------------------------

/// The region takes `arguments` and yields `results`.
static LogicalResult verifyRegion(Operation *op, StringRef name, Region &region,
                                  TypeRange arguments, TypeRange results) {
  Block &block = region.front();
  if (failed(same(op, "arguments of region " + name, arguments, block.getArgumentTypes())))
    return failure();
  auto yield = dyn_cast_or_null<YieldOp>(block.empty() ? nullptr : &block.back());
  if (!yield)
    return op->emitOpError("region ") << name << " does not end in pb.yield";
  return same(op, "values of region " + name, results, yield.getValues().getTypes());
}

static LogicalResult verifyScalarPredicate(Operation *op, Type type) {
  if (cast<RankedTensorType>(type).getRank() != 0)
    return op->emitOpError("needs a scalar predicate, not ") << type;
  return success();
}

LogicalResult CondOp::verifyRegions() {
  if (failed(verifyScalarPredicate(*this, getPred().getType())) ||
      failed(verifyRegion(*this, "on_true", getOnTrue(), getArgs().getTypes(), getOuts().getTypes())))
    return failure();
  return verifyRegion(*this, "on_false", getOnFalse(), getArgs().getTypes(), getOuts().getTypes());
}

LogicalResult CheckpointOp::verifyRegions() {
  return verifyRegion(*this, "body", getBody(), getArgs().getTypes(), getOuts().getTypes());
}

LogicalResult WhileOp::verifyRegions() {
  SmallVector<Type> arguments(getConsts().getTypes());
  llvm::append_range(arguments, getInits().getTypes());
  Type predicate = RankedTensorType::get({}, IntegerType::get(getContext(), 1));
  if (failed(same(*this, "results", getInits().getTypes(), getOuts().getTypes())) ||
      failed(verifyRegion(*this, "condition", getCondition(), arguments, predicate)))
    return failure();
  return verifyRegion(*this, "body", getBody(), arguments, getInits().getTypes());
}

LogicalResult ScanOp::verifyRegions() {
  SmallVector<Type> arguments(getConsts().getTypes());
  llvm::append_range(arguments, getInits().getTypes());
  int64_t length = getLength();
  for (Type type : getXs().getTypes()) {
    Type slice = example(type, 0, length);
    if (!slice)
      return emitOpError("cannot scan ") << type << " in " << length << " steps";
    arguments.push_back(slice);
  }
  size_t carried = getInits().size();
  TypeRange outs(getOuts().getTypes());
  if (outs.size() < carried)
    return emitOpError("has fewer results than carried values");
  if (failed(same(*this, "carried results", getInits().getTypes(), outs.take_front(carried))))
    return failure();
  SmallVector<Type> results(getInits().getTypes());
  for (Type type : outs.drop_front(carried)) {
    Type slice = example(type, 0, length);
    if (!slice)
      return emitOpError("cannot stack ") << type << " from " << length << " steps";
    results.push_back(slice);
  }
  return verifyRegion(*this, "body", getBody(), arguments, results);
}

} // namespace pb
