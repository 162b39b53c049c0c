// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>Checks of tensor arguments: what is wrong is said before libtorch or a kernel meets it.</summary>
internal static class Features
{
    /// <summary>A matrix of floating-point numbers on the CPU, or on a GPU where the caller has one.</summary>
    public static void CheckMatrix(Tensor tensor, bool mayBeOnGpu = false, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        CheckKind(tensor, mayBeOnGpu, name);
        if (tensor.dim() != 2 || tensor.size(0) < 1 || tensor.size(1) < 1)
        {
            throw new ArgumentException($"{name} has the shape {Shape(tensor)}; it must be N x d with N and d at least 1.", name);
        }

        if (tensor.numel() > Array.MaxLength)
        {
            throw new ArgumentException($"{name} has the shape {Shape(tensor)}; at most {Array.MaxLength} elements are possible.", name);
        }
    }

    /// <summary>One floating-point number on the CPU; returns it.</summary>
    public static double CheckScalar(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        CheckOneElement(tensor, name);
        CheckKind(tensor, mayBeOnGpu: false, name);
        return Value(tensor);
    }

    /// <summary>A tensor of one floating-point number, wherever it is.</summary>
    public static void CheckOneElement(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        CheckKind(tensor, mayBeOnGpu: true, name);
        if (tensor.numel() != 1)
        {
            throw new ArgumentException($"{name} has the shape {Shape(tensor)}; it must have one element.", name);
        }
    }

    /// <summary>The same device as the images.</summary>
    public static void CheckDevice(Tensor tensor, Device wanted, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.device_type != wanted.type || tensor.device_index != wanted.index)
        {
            throw new ArgumentException($"{name} is on {tensor.device}, images is on {wanted}; move it once, before training: {name}.to(images.device).", name);
        }
    }

    public static string Shape(Tensor tensor) => tensor.dim() == 0 ? "of a scalar" : string.Join(" x ", tensor.shape);

    private static double Value(Tensor scalar)
    {
        using Tensor wide = scalar.detach().to(ScalarType.Float64);
        return wide.item<double>();
    }

    private static void CheckKind(Tensor tensor, bool mayBeOnGpu, string name)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.dtype is not (ScalarType.Float32 or ScalarType.Float64 or ScalarType.Float16 or ScalarType.BFloat16))
        {
            throw new ArgumentException($"{name} is {tensor.dtype}; it must be float32, float64, float16 or bfloat16.", name);
        }

        if (tensor.device_type != TorchSharp.DeviceType.CPU && !(mayBeOnGpu && tensor.device_type == TorchSharp.DeviceType.CUDA))
        {
            throw new ArgumentException($"{name} is on {tensor.device}; this computes on the CPU{(mayBeOnGpu ? " and on CUDA devices" : "")}: pass {name}.cpu().", name);
        }
    }
}
