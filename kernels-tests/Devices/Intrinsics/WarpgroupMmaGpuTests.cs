// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// One group's product of packed tiles, and its bulk stores. PTX ISA: a row of 128 bytes is swizzled by the three bits of its number (address bits 4 to 6 XOR 7 to 9), and
/// in the result of wgmma.m64n128k16 thread t of a warpgroup has row 16 (t / 32) + t % 32 / 4, columns 8 j + 2 (t % 4) and + 1, and the row 8 further. Whole numbers: nothing is rounded.
/// </summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class WarpgroupMmaGpuTests
{
    private const int Tile = 128, TileDepth = 64, TileWords = Tile * TileDepth / 2;

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open()
    {
        _gpu = IntrinsicRun.Open(warps: 8);
        if (!_gpu.HasWarpgroups)
        {
            Assert.Ignore("Needs sm_90 or the emulation.");
        }
    }

    [OneTimeTearDown]
    public void Close() => _gpu?.Dispose();

    [TestCase(1)]
    [TestCase(2)]
    public void Products_follow_each_other(int tiles)
    {
        int depth = TileDepth * tiles;
        Random random = new(tiles);
        int[] a = [.. Enumerable.Range(0, Tile * depth).Select(_ => random.Next(-8, 9))], b = [.. Enumerable.Range(0, Tile * depth).Select(_ => random.Next(-8, 9))];
        using MemoryBuffer1D<uint, Stride1D.Dense> packed = _gpu.Accelerator.Allocate1D([.. Pack(a, depth), .. Pack(b, depth)]);
        using MemoryBuffer1D<WarpgroupTile, Stride1D.Dense> results = _gpu.Accelerator.Allocate1D<WarpgroupTile>(2 * WarpgroupMma.Threads);
        _gpu.Launch(
            _gpu.Accelerator.DefaultStream, ProductKernel, new Index3D(1, 1, 1), WarpgroupMma.Threads,
            new ProductArguments { Packed = packed.View.BaseView, Results = results.View.BaseView, Tiles = tiles }, WarpgroupMma.SharedLength);
        _gpu.Accelerator.Synchronize();
        WarpgroupTile[] parts = results.GetAsArray1D();
        int[] expected = [.. Enumerable.Range(0, Tile * Tile).Select(i => Enumerable.Range(0, depth).Sum(k => a[(i / Tile * depth) + k] * b[(i % Tile * depth) + k]))];
        Assert.That(Unpack(parts[..WarpgroupMma.Threads]), Is.EqualTo(expected), "A B^T");
        Assert.That(Unpack(parts[WarpgroupMma.Threads..]), Is.EqualTo(Enumerable.Range(0, Tile * Tile).Select(i => expected[(i % Tile * Tile) + (i / Tile)])), "B A^T");
    }

    [Test]
    public void Two_tiles_go_to_each_of_two_places()
    {
        const int Guard = 16;
        uint[] words = [.. Enumerable.Range(1, 4 * TileWords).Select(each => (uint)each)];
        using MemoryBuffer1D<uint, Stride1D.Dense> from = _gpu.Accelerator.Allocate1D(words);
        using MemoryBuffer1D<uint, Stride1D.Dense> to = _gpu.Accelerator.Allocate1D(new uint[words.Length + (3 * Guard)]);
        _gpu.Launch(
            _gpu.Accelerator.DefaultStream, StoreKernel, new Index3D(1, 1, 1), WarpgroupMma.Threads,
            new StoreArguments { From = from.View.BaseView, To = to.View.BaseView, First = (2 * TileWords) + (2 * Guard), Second = Guard }, WarpgroupMma.SharedLength);
        _gpu.Accelerator.Synchronize();
        uint[] guard = new uint[Guard];
        Assert.That(to.GetAsArray1D(), Is.EqualTo(new[] { guard, words[(2 * TileWords)..], guard, words[..(2 * TileWords)], guard }.SelectMany(each => each)));
    }

    internal struct ProductArguments
    {
        public ArrayView<uint> Packed;
        public ArrayView<WarpgroupTile> Results;
        public int Tiles;
    }

    internal struct StoreArguments
    {
        public ArrayView<uint> From;
        public ArrayView<uint> To;
        public int First;
        public int Second;
    }

    internal static void ProductKernel(ProductArguments p)
    {
        ArrayView<uint> ring = SharedMemory.GetDynamic<uint>();
        int b = p.Tiles * PackedMatrix.TileLength;
        WarpgroupMma.Begin(ring, p.Packed, 0, p.Packed, b, p.Tiles, 0);
        p.Results[Group.IdxX] = WarpgroupMma.Multiply(ring, p.Packed, 0, p.Packed, b, p.Tiles, 0);
        WarpgroupMma.Begin(ring, p.Packed, b, p.Packed, 0, p.Tiles, p.Tiles);
        p.Results[WarpgroupMma.Threads + Group.IdxX] = WarpgroupMma.Multiply(ring, p.Packed, b, p.Packed, 0, p.Tiles, p.Tiles);
    }

    internal static void StoreKernel(StoreArguments p)
    {
        ArrayView<uint> ring = SharedMemory.GetDynamic<uint>();
        int start = WarpgroupMma.AlignedStart(ring);
        for (int i = Group.IdxX; i < p.From.IntLength; i += WarpgroupMma.Threads)
        {
            ring[start + i] = p.From[i];
        }

        WarpgroupMma.StoreTiles(ring, start, p.To, p.First, p.To, p.Second);
    }

    // Tile after tile along the depth, numbers as bf16.
    private static uint[] Pack(int[] matrix, int depth)
    {
        byte[] bytes = new byte[matrix.Length * sizeof(ushort)];
        for (int i = 0; i < matrix.Length; i++)
        {
            int row = i / depth, k = i % depth;
            int address = (row * TileDepth * sizeof(ushort)) + (k % TileDepth * sizeof(ushort));
            address ^= ((address >> 7) & 7) << 4;
            ushort half = (ushort)(BitConverter.SingleToUInt32Bits(matrix[i]) >> 16);
            Assert.That(BitConverter.TryWriteBytes(bytes.AsSpan((k / TileDepth * TileWords * sizeof(uint)) + address), half), Is.True);
        }

        return System.Runtime.InteropServices.MemoryMarshal.Cast<byte, uint>(bytes).ToArray();
    }

    private static float[] Unpack(WarpgroupTile[] parts)
    {
        float[] result = new float[Tile * Tile];
        ReadOnlySpan<Float4> fours = System.Runtime.InteropServices.MemoryMarshal.Cast<WarpgroupTile, Float4>(parts);
        for (int i = 0; i < fours.Length; i++)
        {
            int thread = i / 16;
            int row = (64 * (thread / 128)) + (16 * (thread % 128 / 32)) + (thread % 32 / 4), column = (8 * (i % 16)) + (2 * (thread % 4));
            (result[(row * Tile) + column], result[(row * Tile) + column + 1]) = (fours[i].X, fours[i].Y);
            (result[((row + 8) * Tile) + column], result[((row + 8) * Tile) + column + 1]) = (fours[i].Z, fours[i].W);
        }

        return result;
    }
}
