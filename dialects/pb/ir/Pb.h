// Declarations of the pb dialect, generated from the .td files beside this one.
#ifndef PULLBACK_PB_H
#define PULLBACK_PB_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace pb {
/// What check_index writes: the error status of the running call.
struct ErrorStatus : public mlir::SideEffects::Resource::Base<ErrorStatus> {
  llvm::StringRef getName() final { return "pb.error_status"; }
};

/// The syntax `(type, type, ...)`, which may be empty.
mlir::ParseResult parseTypes(mlir::OpAsmParser &parser, llvm::SmallVectorImpl<mlir::Type> &types);
void printTypes(mlir::OpAsmPrinter &printer, mlir::Operation *op, mlir::TypeRange types);
} // namespace pb

// Hidden, so that a missing definition of ours is an error of the linker.
#pragma GCC visibility push(hidden)
#include "PbDialect.h.inc"
#define GET_OP_CLASSES
#include "PbOps.h.inc"
#pragma GCC visibility pop

#endif
