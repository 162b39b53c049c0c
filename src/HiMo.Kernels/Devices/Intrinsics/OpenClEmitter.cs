// SPDX-License-Identifier: Apache-2.0
// The intrinsics on an OpenCL device, in what every one of them has: no sub-groups, whose size the drivers choose, no shuffles, no matrix instructions.
// Exchange   lanes show each other a word in local memory, between two barriers of the whole group: so all warps of a group must come to an exchange
//            together. They do in the products, the lines beside them and the loss; where warps go their own ways a group has one of them (Gpu.LineThreads, GpuStepSettings).
// Products   PortablePrecision has no exchange: a lane reads what it needs of the stage in local memory.
// Dynamic    local memory: ILGPU 1.5.3 keeps its address in a variable of the program, which groups share where they run at the same time and have different
//            addresses (pocl). It is moved into the kernel, which is one function once everything is inlined.
// Rounding   products are not fused into sums, see Rounding.Product.
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU.IR.Values;

namespace HiMo.Kernels;

/// <summary>OpenCL C of the intrinsics.</summary>
internal static partial class OpenClEmitter
{
    // An exchange of words of one type by lanes whose numbers differ in some bits; the area is declared at the top of a kernel, as the language wants it.
    private const string Prelude = """
        #pragma OPENCL FP_CONTRACT OFF
        #define sub_group_barrier(flags) barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
        #define work_group_barrier(flags) barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
        #define EXCHANGE(type) \
        type exchange_##type(local void* area, type value, int mask) \
        { \
            local type* words = (local type*)area; \
            size_t place = get_local_id(0); \
            words[place] = value; \
            barrier(CLK_LOCAL_MEM_FENCE); \
            type other = words[place ^ (size_t)mask]; \
            barrier(CLK_LOCAL_MEM_FENCE); \
            return other; \
        }
        EXCHANGE(int)
        EXCHANGE(float)
        EXCHANGE(long)
        EXCHANGE(double)

        """;

    /// <summary>Registers the intrinsics that strict products and everything around them need; before the context is built.</summary>
    public static Context.Builder OpenClIntrinsics(this Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        manager.RegisterWarpShuffle(ShuffleKind.Xor, New(nameof(EmitExchange), IntrinsicImplementationMode.GenerateCode));
        manager.RegisterMethod(typeof(Rounding).GetMethod(nameof(Rounding.Product))!, New(nameof(Product), IntrinsicImplementationMode.Redirect));
        manager.RegisterMethod(typeof(Exp2).GetMethod(nameof(Exp2.Approximate))!, New(nameof(Power), IntrinsicImplementationMode.Redirect));
        manager.RegisterMethod(typeof(Reciprocal).GetMethod(nameof(Reciprocal.Approximate))!, New(nameof(Inverse), IntrinsicImplementationMode.Redirect));
        manager.RegisterMethod(typeof(Reciprocal).GetMethod(nameof(Reciprocal.ApproximateRoot))!, New(nameof(InverseRoot), IntrinsicImplementationMode.Redirect));
        return builder;

        static CLIntrinsic New(string method, IntrinsicImplementationMode mode) => new(typeof(OpenClEmitter).GetMethod(method)!, mode);
    }

    /// <summary>The kernel of one thread group size, with what <see cref="EmitExchange"/> needs.</summary>
    /// <param name="kernel">As the backend gives it.</param>
    /// <param name="threads">Threads of a group.</param>
    /// <param name="isPocl">
    /// Whether it is for pocl, whose work-group compiler (6.0) aborts on loops with barriers that are made of gotos, or loses what they carry, unless
    /// the variables that loops carry stay in memory.
    /// </param>
    public static CLCompiledKernel Complete(CLCompiledKernel kernel, int threads, bool isPocl)
    {
        string dynamic = string.Concat(DynamicMemory().Matches(kernel.Source).Select(each => $"\n\t{each.Value}"));
        string source = KernelStart().Replace(DynamicMemory().Replace(kernel.Source, ""), FormattableString.Invariant($"$0\n\tlocal long exchanged[{threads}];{dynamic}"));
        if (isPocl)
        {
            HashSet<string> carried = [.. Assignment().Matches(source).CountBy(each => each.Groups[1].Value).Where(each => each.Value > 1).Select(each => each.Key)];
            source = Declaration().Replace(source, each => carried.Contains(each.Groups[2].Value) ? $"\tvolatile {each.Groups[1].Value} {each.Groups[2].Value};" : each.Value);
        }

        return new CLCompiledKernel(kernel.Context, (SeparateViewEntryPoint)EntryPointOf(kernel), kernel.Info, Prelude + source, kernel.CVersion);
    }

    /// <summary>What <see cref="Rounding.Product"/> is.</summary>
    public static float Product(float a, float b) => a * b;

    /// <summary>What <see cref="Exp2.Approximate"/> is.</summary>
    public static float Power(float x)
    {
        float y = XMath.Exp2(x);
        return XMath.Abs(y) < 1.17549435e-38f ? 0.0f : y;
    }

    /// <summary>What <see cref="Reciprocal.Approximate"/> is.</summary>
    public static float Inverse(float x) => 1.0f / x;

    /// <summary>What <see cref="Reciprocal.ApproximateRoot"/> is.</summary>
    public static float InverseRoot(float x) => 1.0f / XMath.Sqrt(x);

    /// <summary>OpenCL C of Warp.ShuffleXor.</summary>
    public static void EmitExchange(CLBackend backend, CLCodeGenerator generator, Value value)
    {
        WarpShuffle shuffle = (WarpShuffle)value;
        VariableAllocator.Variable given = generator.Load(shuffle.Variable);
        VariableAllocator.Variable mask = generator.Load(shuffle.Origin);
        using CLCodeGenerator.StatementEmitter statement = generator.BeginStatement(generator.Allocate(shuffle));
        statement.AppendCommand(shuffle.BasicValueType switch
        {
            BasicValueType.Int32 => "exchange_int",
            BasicValueType.Float32 => "exchange_float",
            BasicValueType.Int64 => "exchange_long",
            BasicValueType.Float64 => "exchange_double",
            _ => throw new NotSupportedException($"There is no exchange of {shuffle.BasicValueType} on OpenCL."),
        });
        statement.BeginArguments();
        statement.AppendArgument();
        statement.AppendCommand("exchanged");
        statement.AppendArgument(given);
        statement.AppendArgument(mask);
        statement.EndArguments();
    }

    [GeneratedRegex(@"^kernel void [^{]*\{", RegexOptions.Multiline)]
    private static partial Regex KernelStart();

    [GeneratedRegex(@"^(local \w+\*|int) shared_var_\w+;", RegexOptions.Multiline)]
    private static partial Regex DynamicMemory();

    [GeneratedRegex(@"^\t(bool|int|uint|long|ulong|float|double) (var[0-9]+);", RegexOptions.Multiline)]
    private static partial Regex Declaration();

    [GeneratedRegex(@"^\t(var[0-9]+) = ", RegexOptions.Multiline)]
    private static partial Regex Assignment();

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_EntryPoint")]
    private static extern EntryPoint EntryPointOf(CompiledKernel kernel);
}
