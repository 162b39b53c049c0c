// SPDX-License-Identifier: Apache-2.0
// The memory of a tensor as the matrices of HiMo.Kernels.
// Shapes     N x d, row-major.
// Limits     A view does not keep its tensor alive: GC.KeepAlive(tensor) after the last use, or a scope around it.
using System.Runtime.InteropServices;
using HiMo.Kernels;
using static TorchSharp.torch;

namespace HiMo.Interop;

internal static unsafe partial class TensorMemory
{
    [ThreadStatic]
    private static long s_copies;

    /// <summary>Conversions and copies that this thread made so far; tests read it.</summary>
    public static long Copies => s_copies;

    /// <summary>The tensor itself where it is row-major float32, else a float32 copy in the current dispose scope.</summary>
    public static Tensor RowMajorFloat32(Tensor tensor)
    {
        if (tensor.dtype == ScalarType.Float32 && tensor.is_contiguous())
        {
            return tensor;
        }

        s_copies++;
        using (no_grad())
        {
            return tensor.to(ScalarType.Float32).contiguous();
        }
    }

    /// <summary>
    /// A matrix for <see cref="Wrap"/>: the tensor itself where it is float32, half or bfloat16 and each row's elements lie side by side, apart from the
    /// other rows'; else a float32 copy in the current dispose scope.
    /// </summary>
    public static Tensor RowsOnDevice(Tensor matrix)
    {
        bool isElement = matrix.dtype is ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16;
        bool isInRow = matrix.size(1) == 1 || matrix.stride(1) == 1;
        bool isApart = matrix.size(0) == 1 || matrix.stride(0) >= matrix.size(1); // rows of an expanded tensor are not
        return isElement && isInRow && isApart ? matrix : RowMajorFloat32(matrix);
    }

    /// <summary>The elements of a row-major float32 CPU matrix.</summary>
    public static ReadOnlyMatrixView Read(Tensor matrix) => Write(matrix);

    /// <inheritdoc cref="Read"/>
    public static MatrixView Write(Tensor matrix)
    {
        int rows = (int)matrix.size(0), columns = (int)matrix.size(1);
        return new MatrixView(new Span<float>((void*)Data(matrix.Handle), rows * columns), rows, columns);
    }

    /// <summary>The elements of a tensor in device memory, as <see cref="RowsOnDevice"/> gives it or in one row; empty where there is none.</summary>
    public static GpuMatrix Wrap(Gpu gpu, Tensor? tensor, MatrixShape shape)
    {
        if (tensor is null)
        {
            return default;
        }

        GpuElement element = tensor.dtype switch
        {
            ScalarType.Float16 => GpuElement.Float16,
            ScalarType.BFloat16 => GpuElement.BFloat16,
            _ => GpuElement.Float32,
        };
        return gpu.Wrap(Data(tensor.Handle), shape.Rows, shape.Columns, element, shape.Rows > 1 ? tensor.stride(0) : 0);
    }

    /// <summary>Address of the first element, storage offset included.</summary>
    [LibraryImport("LibTorchSharp", EntryPoint = "THSTensor_data")]
    private static partial IntPtr Data(IntPtr tensor);
}
