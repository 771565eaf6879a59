// RUN: pullback-opt --split-input-file --verify-diagnostics --pb-expand-transforms %s

func.func private @f(%x: tensor<f64>) -> tensor<f64> {
  // expected-error@+1 {{@f cannot be expanded: the function contains itself}}
  %0:2 = pb.jvp @f(%x) tangents(%x) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1 : tensor<f64>
}
func.func @main(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.call @f(%x) : (tensor<f64>) -> tensor<f64>
  return %0 : tensor<f64>
}

// -----

// expected-error@+1 {{@f should have a body, of one block}}
func.func private @f(%x: tensor<f64>) -> tensor<f64>
func.func @main(%x: tensor<f64>) -> tensor<f64> {
  %0:2 = pb.jvp @f(%x) tangents(%x) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1 : tensor<f64>
}

// -----

func.func @main(%x: tensor<f64>) -> tensor<f64> {
  // expected-error@+1 {{math.sin is no op of pb}}
  %0 = math.sin %x : tensor<f64>
  return %0 : tensor<f64>
}
