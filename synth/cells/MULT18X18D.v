// SPDX-License-Identifier: Apache-2.0
// ECP5's multiplier as Yosys uses it, for simulation: two operands of 18 bits, each signed or not,
// to a product of 36, with registers on CLK0 before and behind. Other registers or a bypass end the
// simulation; a reset and an operand from the neighbour give an undefined product.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, CE1, CE2, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTC_CLK = "NONE";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter MULT_BYPASS = "DISABLED";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_OUTPUT_CE = "CE0";
    parameter REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_RST = "RST0";
    parameter REG_OUTPUT_RST = "RST0";
    parameter CLK0_DIV = "ENABLED";
    parameter RESETMODE = "SYNC";

    function enabled(input [23:0] name);
        enabled = name == "CE0" ? CE0 : name == "CE1" ? CE1 : name == "CE2" ? CE2 : 1'bx;
    endfunction

    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg [17:0] held_a = 0, held_b = 0;
    reg [35:0] held_p = 0;
    wire [17:0] x = REG_INPUTA_CLK == "NONE" ? a : held_a;
    wire [17:0] y = REG_INPUTB_CLK == "NONE" ? b : held_b;
    wire signed [35:0] wide_x = {{18{SIGNEDA & x[17]}}, x};
    wire signed [35:0] wide_y = {{18{SIGNEDB & y[17]}}, y};
    wire [35:0] product = SOURCEA | SOURCEB ? {36{1'bx}} : wide_x * wide_y;
    always @(posedge CLK0) begin
        if (enabled(REG_INPUTA_CE)) held_a <= a;
        if (enabled(REG_INPUTB_CE)) held_b <= b;
        if (enabled(REG_OUTPUT_CE)) held_p <= product;
        if (RST0) held_p <= {36{1'bx}};
    end
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
            P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0}
        = REG_OUTPUT_CLK == "NONE" ? product : held_p;

    localparam UNKNOWN = REG_INPUTC_CLK != "NONE" || REG_PIPELINE_CLK != "NONE"
        || MULT_BYPASS != "DISABLED" || (REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0")
        || (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0")
        || (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0");
    initial
        if (UNKNOWN) begin
            $display("MULT18X18D: this model lacks the registers or the bypass asked for");
            $finish;
        end
endmodule
