// SPDX-License-Identifier: Apache-2.0
// A small machine with the ports and the registers of the real one, which adds one to every byte
// of region INPUT and writes the result to region OUTPUT. The PROGRAM register selects a fault in
// its manners, so that tests can see the memory model catch it.
/* verilator lint_off WIDTHTRUNC */
module makalu #(
    parameter BUS = 8, parameter ADDR = 32, parameter BEATS = 4, parameter DEPTH = 256,
    parameter [63:0] HASH = 0, parameter [31:0] VERSION = 0
) (
    input clk, input rst, output irq,
    input [11:0] s_axil_awaddr, input s_axil_awvalid, output s_axil_awready,
    input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
    output [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
    input [11:0] s_axil_araddr, input s_axil_arvalid, output s_axil_arready,
    output reg [31:0] s_axil_rdata, output [1:0] s_axil_rresp, output reg s_axil_rvalid,
    input s_axil_rready,
    output [3:0] m_axi_awid, output [ADDR-1:0] m_axi_awaddr, output [7:0] m_axi_awlen,
    output [2:0] m_axi_awsize, output [1:0] m_axi_awburst, output m_axi_awvalid,
    input m_axi_awready,
    output [8*BUS-1:0] m_axi_wdata, output [BUS-1:0] m_axi_wstrb, output m_axi_wlast,
    output m_axi_wvalid, input m_axi_wready,
    input [3:0] m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
    output [3:0] m_axi_arid, output [ADDR-1:0] m_axi_araddr, output [7:0] m_axi_arlen,
    output [2:0] m_axi_arsize, output [1:0] m_axi_arburst, output m_axi_arvalid,
    input m_axi_arready,
    input [3:0] m_axi_rid, input [8*BUS-1:0] m_axi_rdata, input [1:0] m_axi_rresp,
    input m_axi_rlast, input m_axi_rvalid, output m_axi_rready,
    output trace_busy, output [4:0] trace_dispatch, output [4:0] trace_start,
    output [4:0] trace_done, output [31:0] trace_signature_load,
    output [31:0] trace_signature_tensor, output [31:0] trace_signature_window,
    output [31:0] trace_signature_vector, output [31:0] trace_signature_store,
    output [11:0] trace_bucket_load, output [11:0] trace_bucket_tensor,
    output [11:0] trace_bucket_window, output [11:0] trace_bucket_vector,
    output [11:0] trace_bucket_store
);
  localparam CROSS = 1, EARLY_LAST = 2, DROP = 3, CHANGE = 4, NARROW = 5, STOP = 6, HANG = 7,
             KEEP_LAST = 8;
  reg [31:0] source, source_hi, target, target_hi, size, mode;
  reg busy, done, error, irq_enable, irq_done, irq_error;
  reg [31:0] code;
  reg [63:0] cycles;
  assign trace_busy = busy, trace_dispatch = 0, trace_start = 0, trace_done = 0;
  assign trace_signature_load = 0, trace_signature_tensor = 0, trace_signature_window = 0,
         trace_signature_vector = 0, trace_signature_store = 0;
  assign trace_bucket_load = 0, trace_bucket_tensor = 0, trace_bucket_window = 0,
         trace_bucket_vector = 0, trace_bucket_store = 0;
  assign irq = irq_enable && (irq_done || irq_error);

  // registers
  wire put = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign s_axil_awready = put, s_axil_wready = put, s_axil_bresp = 0, s_axil_rresp = 0;
  assign s_axil_arready = !s_axil_rvalid;
  wire ring = put && s_axil_awaddr == 12'h018 && s_axil_wdata[0] && !busy && !error;
  always @(posedge clk) begin
    if (put) s_axil_bvalid <= 1;
    else if (s_axil_bready) s_axil_bvalid <= 0;
    if (put) case (s_axil_awaddr)
      12'h010: irq_enable <= s_axil_wdata[0];
      12'h020: mode <= s_axil_wdata >> 7;
      12'h060: source <= s_axil_wdata;
      12'h064: source_hi <= s_axil_wdata;
      12'h070: target <= s_axil_wdata;
      12'h074: target_hi <= s_axil_wdata;
      12'h078: size <= s_axil_wdata;
      default: ;
    endcase
    if (s_axil_arvalid && s_axil_arready) begin
      s_axil_rvalid <= 1;
      case (s_axil_araddr)
        12'h000: s_axil_rdata <= 32'h4D4B4C55;
        12'h004: s_axil_rdata <= VERSION;
        12'h008: s_axil_rdata <= HASH[31:0];
        12'h00C: s_axil_rdata <= HASH[63:32];
        12'h014: s_axil_rdata <= {29'b0, error, done, busy};
        12'h024: s_axil_rdata <= code;
        12'h028: s_axil_rdata <= 1;
        12'h100: s_axil_rdata <= cycles[31:0];
        12'h104: s_axil_rdata <= cycles[63:32];
        default: s_axil_rdata <= 0;
      endcase
    end else if (s_axil_rready) s_axil_rvalid <= 0;
    if (rst) begin
      s_axil_bvalid <= 0; s_axil_rvalid <= 0; irq_enable <= 0; mode <= 0;
    end
  end

  // three counters of beats and bursts chase one another through a FIFO
  wire [31:0] beats = size / BUS;
  reg [31:0] asked, got, told, sent, first_of_burst, answered, bursts_told, bursts_done;
  reg [8*BUS-1:0] fifo [0:DEPTH-1];
  reg drop;
  function automatic [31:0] burst(input [31:0] left);
    burst = left < BEATS ? left : BEATS;
  endfunction
  wire [31:0] ar_beats = burst(beats - asked), aw_beats = burst(beats - told);
  assign m_axi_arid = 3, m_axi_awid = 5;
  assign m_axi_arburst = 1, m_axi_awburst = 1;
  assign m_axi_arsize = mode == NARROW ? 0 : $clog2(BUS), m_axi_awsize = $clog2(BUS);
  assign m_axi_arlen = ar_beats - 1, m_axi_awlen = aw_beats - 1;
  assign m_axi_arvalid = busy && asked < beats && asked + ar_beats - sent <= DEPTH && !drop;
  assign m_axi_araddr = {source_hi, source} + asked * BUS +
                        (mode == CROSS ? 4096 - BUS : 0) + (mode == CHANGE && cycles[0] ? BUS : 0);
  assign m_axi_rready = 1;
  assign m_axi_awvalid = busy && told < beats && got >= told + aw_beats;
  assign m_axi_awaddr = {target_hi, target} + told * BUS;
  assign m_axi_wvalid = busy && sent < told;
  wire [31:0] in_burst = sent - first_of_burst;
  wire [31:0] of_burst = burst(beats - first_of_burst);
  assign m_axi_wlast = mode == KEEP_LAST ? 0 :
                       in_burst + 1 == of_burst - (mode == EARLY_LAST ? 1 : 0);
  assign m_axi_wstrb = ~0;
  assign m_axi_wdata = fifo[sent % DEPTH];
  assign m_axi_bready = 1;
  integer i;
  always @(posedge clk) begin
    if (busy) cycles <= cycles + 1;
    drop <= mode == DROP && m_axi_arvalid && !m_axi_arready;
    if (m_axi_arvalid && m_axi_arready) asked <= asked + ar_beats;
    if (m_axi_rvalid) begin
      for (i = 0; i < BUS; i = i + 1) fifo[got % DEPTH][8*i +: 8] <= m_axi_rdata[8*i +: 8] + 8'd1;
      got <= got + 1;
    end
    if (m_axi_awvalid && m_axi_awready) begin
      told <= told + aw_beats;
      bursts_told <= bursts_told + 1;
    end
    if (m_axi_wvalid && m_axi_wready) begin
      sent <= sent + 1;
      if (in_burst + 1 == of_burst) first_of_burst <= sent + 1;
    end
    if (m_axi_bvalid) bursts_done <= bursts_done + 1;
    if (m_axi_rvalid && m_axi_rresp != 0) code <= 32'd3 + 32'(m_axi_rresp);
    if (m_axi_bvalid && m_axi_bresp != 0) code <= 32'd3 + 32'(m_axi_bresp);
    if (busy && told == beats && bursts_done == bursts_told && mode != HANG) begin
      busy <= 0;
      if (code != 0) begin error <= 1; irq_error <= 1; end
      else begin done <= 1; irq_done <= 1; end
    end
    if (busy && mode == STOP) $stop;
    if (put && s_axil_awaddr == 12'h01C) begin
      if (s_axil_wdata[0]) irq_done <= 0;
      if (s_axil_wdata[1]) irq_error <= 0;
    end
    if (ring) begin
      busy <= 1; done <= 0; cycles <= 0;
      asked <= 0; got <= 0; told <= 0; sent <= 0; first_of_burst <= 0;
      bursts_told <= 0; bursts_done <= 0;
    end
    if (rst || (put && s_axil_awaddr == 12'h010 && s_axil_wdata[1])) begin
      busy <= 0; done <= 0; error <= 0; irq_done <= 0; irq_error <= 0; drop <= 0; code <= 0;
    end
  end
endmodule
