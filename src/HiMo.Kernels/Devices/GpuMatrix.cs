// SPDX-License-Identifier: Apache-2.0
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Type of the elements of a <see cref="GpuMatrix"/>; the arithmetic is float32 whatever it is.</summary>
public enum GpuElement
{
    /// <summary>32 bits, IEEE.</summary>
    Float32,

    /// <summary>16 bits, IEEE: up to 65504.</summary>
    Float16,

    /// <summary>The upper 16 bits of a float32.</summary>
    BFloat16,
}

/// <summary>
/// A row-major matrix in device memory that the caller owns: of ILGPU's views by the constructors, of foreign memory by
/// <see cref="Gpu.Wrap"/>. The default value is empty: 0 x 0, as an output it means: not wanted.
/// </summary>
public readonly struct GpuMatrix
{
    /// <summary>Wraps <paramref name="elements"/> without a copy.</summary>
    /// <param name="elements">At least (rows - 1) x rowStride + columns values of the device's memory.</param>
    /// <param name="rows">Number of rows, 0 or more.</param>
    /// <param name="columns">Number of columns, 0 or more.</param>
    /// <param name="rowStride">Elements from one row to the next, columns or more; 0: columns.</param>
    /// <exception cref="ArgumentException">The view is too short, a size is negative, or the stride is too small.</exception>
    public GpuMatrix(ArrayView<float> elements, int rows, int columns, long rowStride = 0)
        : this(elements.Cast<byte>(), GpuElement.Float32, rows, columns, rowStride)
    {
    }

    /// <inheritdoc cref="GpuMatrix(ArrayView{float}, int, int, long)"/>
    public GpuMatrix(ArrayView<ILGPU.Half> elements, int rows, int columns, long rowStride = 0)
        : this(elements.Cast<byte>(), GpuElement.Float16, rows, columns, rowStride)
    {
    }

    internal GpuMatrix(ArrayView<byte> memory, GpuElement element, int rows, int columns, long rowStride)
    {
        RowStride = rowStride == 0 ? columns : rowStride;
        long wanted = LengthOf(rows, columns, RowStride);
        long available = memory.Length / SizeOf(element);
        if (wanted > available)
        {
            throw new ArgumentException(
                $"GpuMatrix: a matrix of {rows} x {columns} with rows {RowStride} apart needs {wanted} elements, the view has {available}.");
        }

        Memory = wanted == 0 ? default : memory.SubView(0, wanted * SizeOf(element));
        Element = element;
        Shape = new MatrixShape(rows, columns);
    }

    /// <summary>Type of the elements.</summary>
    public GpuElement Element { get; }

    /// <summary>Rows and columns.</summary>
    public MatrixShape Shape { get; }

    /// <summary>Elements from one row to the next.</summary>
    public long RowStride { get; }

    /// <summary>Number of rows.</summary>
    public int Rows => Shape.Rows;

    /// <summary>Number of columns.</summary>
    public int Columns => Shape.Columns;

    /// <summary>True for the default value and for every matrix without elements.</summary>
    public bool IsEmpty => Shape.Length == 0;

    /// <summary>From the first element of the first row to the last of the last.</summary>
    internal ArrayView<byte> Memory { get; }

    /// <summary>Whether the kernels take it as it is: float32 without gaps between rows.</summary>
    internal bool IsDenseFloat32 => Element == GpuElement.Float32 && (RowStride == Columns || Rows <= 1);

    /// <summary>Bits of bfloat16, which ILGPU has no type for.</summary>
    /// <inheritdoc cref="GpuMatrix(ArrayView{float}, int, int, long)"/>
    public static GpuMatrix OfBFloat16(ArrayView<ushort> elements, int rows, int columns, long rowStride = 0) =>
        new(elements.Cast<byte>(), GpuElement.BFloat16, rows, columns, rowStride);

    /// <summary>The elements as a view of their type.</summary>
    internal ArrayView<T> As<T>()
        where T : unmanaged =>
        Memory.Cast<T>();

    /// <summary>Bytes of an element.</summary>
    internal static int SizeOf(GpuElement element) => element == GpuElement.Float32 ? sizeof(float) : sizeof(ushort);

    private static long LengthOf(int rows, int columns, long rowStride)
    {
        if (rows < 0 || columns < 0 || rowStride < columns)
        {
            throw new ArgumentException(
                $"GpuMatrix: a matrix of {rows} x {columns} with rows {rowStride} apart does not exist; sizes must be 0 or more, the stride at least the columns.");
        }

        return rows == 0 || columns == 0 ? 0 : ((rows - 1) * rowStride) + columns;
    }
}
