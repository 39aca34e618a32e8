package server

// reads is the newest format of records that this server can read.
func (s *Server) reads() int {
	if s.o.Knows > 0 {
		return s.o.Knows
	}
	return format
}

// written is the format of records that all servers write.
func (s *Server) written() int { return format }
