// RUN: pullback-opt --split-input-file --verify-diagnostics --pb-inline %s

func.func @f(%x: tensor<f64>) -> tensor<f64> {
  // expected-error@+1 {{@f calls itself}}
  %0 = pb.call @f(%x) : (tensor<f64>) -> tensor<f64>
  return %0 : tensor<f64>
}

// -----

func.func private @g(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.call @f(%x) : (tensor<f64>) -> tensor<f64>
  return %0 : tensor<f64>
}
func.func @f(%x: tensor<f64>) -> tensor<f64> {
  // expected-error@+1 {{@g calls itself}}
  %0 = pb.call @g(%x) : (tensor<f64>) -> tensor<f64>
  return %0 : tensor<f64>
}
