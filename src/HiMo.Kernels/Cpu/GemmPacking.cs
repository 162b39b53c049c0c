// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace HiMo.Kernels;

// panel[p * width + line] = source[line * lineStride + p * depthStride],  zero for lines <= line < width
// A line is a row of A or a column of B, p runs over k. The register tile then reads both panels from front to back.
internal static unsafe class GemmPacking
{
    private const int Square = 4;
    private const int CacheLine = 16;

    public static void Pack(float* source, nint lineStride, nint depthStride, int lines, int depth, int width, float* panel)
    {
        if (lines < width)
        {
            new Span<float>(panel, width * depth).Clear();
        }

        if (lineStride == 1)
        {
            PackCopying(source, depthStride, lines, depth, width, panel);
        }
        else if (depthStride == 1)
        {
            PackTransposing(source, lineStride, lines, depth, width, panel);
        }
        else
        {
            PackStrided(source, lineStride, depthStride, 0, lines, 0, depth, width, panel);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackCopying(float* source, nint depthStride, int lines, int depth, int width, float* panel)
    {
        if (lines % Square != 0)
        {
            PackStrided(source, 1, depthStride, 0, lines, 0, depth, width, panel);
            return;
        }

        for (int p = 0; p < depth; p++)
        {
            float* from = source + (p * depthStride);
            float* to = panel + ((nint)p * width);
            int line = 0;
            for (; line + Vector256<float>.Count <= lines; line += Vector256<float>.Count)
            {
                Vector256.Load(from + line).Store(to + line);
            }

            if (line < lines)
            {
                Vector128.Load(from + line).Store(to + line);
            }
        }
    }

    /// <summary>
    /// Squares of 4 lines by 4 depths go through registers, a cache line's depth of all lines before the next, so that what is written stays
    /// near; what is left over goes one by one.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackTransposing(float* source, nint lineStride, int lines, int depth, int width, float* panel)
    {
        int wholeLines = lines - (lines % Square);
        int wholeDepth = depth - (depth % Square);
        for (int start = 0; start < wholeDepth; start += CacheLine)
        {
            int end = Math.Min(start + CacheLine, wholeDepth);
            for (int line = 0; line < wholeLines; line += Square)
            {
                float* row0 = source + (line * lineStride);
                float* row1 = row0 + lineStride;
                float* row2 = row1 + lineStride;
                float* row3 = row2 + lineStride;
                float* to = panel + ((nint)start * width) + line;
                for (int p = start; p < end; p += Square)
                {
                    Vector128<float> line0 = Vector128.Load(row0 + p);
                    Vector128<float> line1 = Vector128.Load(row1 + p);
                    Vector128<float> line2 = Vector128.Load(row2 + p);
                    Vector128<float> line3 = Vector128.Load(row3 + p);
                    Vector128<double> low01 = InterleaveLow(line0, line1).AsDouble();
                    Vector128<double> high01 = InterleaveHigh(line0, line1).AsDouble();
                    Vector128<double> low23 = InterleaveLow(line2, line3).AsDouble();
                    Vector128<double> high23 = InterleaveHigh(line2, line3).AsDouble();
                    InterleaveLow(low01, low23).AsSingle().Store(to);
                    InterleaveHigh(low01, low23).AsSingle().Store(to + width);
                    InterleaveLow(high01, high23).AsSingle().Store(to + (2 * width));
                    InterleaveHigh(high01, high23).AsSingle().Store(to + (3 * width));
                    to += Square * (nint)width;
                }
            }
        }

        PackStrided(source, lineStride, 1, 0, wholeLines, wholeDepth, depth, width, panel);
        PackStrided(source, lineStride, 1, wholeLines, lines, 0, depth, width, panel);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackStrided(
        float* source, nint lineStride, nint depthStride, int firstLine, int lastLine, int firstDepth, int lastDepth, int width, float* panel)
    {
        for (int line = firstLine; line < lastLine; line++)
        {
            for (int p = firstDepth; p < lastDepth; p++)
            {
                panel[((nint)p * width) + line] = source[(line * lineStride) + (p * depthStride)];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveLow(Vector128<float> even, Vector128<float> odd) =>
        Sse.IsSupported ? Sse.UnpackLow(even, odd)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(even, odd)
        : Vector128.Create(even[0], odd[0], even[1], odd[1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveHigh(Vector128<float> even, Vector128<float> odd) =>
        Sse.IsSupported ? Sse.UnpackHigh(even, odd)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(even, odd)
        : Vector128.Create(even[2], odd[2], even[3], odd[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> InterleaveLow(Vector128<double> even, Vector128<double> odd) =>
        Sse2.IsSupported ? Sse2.UnpackLow(even, odd)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(even, odd)
        : Vector128.Create(even[0], odd[0]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> InterleaveHigh(Vector128<double> even, Vector128<double> odd) =>
        Sse2.IsSupported ? Sse2.UnpackHigh(even, odd)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(even, odd)
        : Vector128.Create(even[1], odd[1]);
}
